//! One daemon for each control socket: the lock that says so, and the socket itself.
//!
//! The lock is the kernel's (flock(2)) and ends with the process, however that ends; the file
//! beside the socket stays. So the socket of a killed daemon is told from that of a live one.

use std::{
    fs::{self, File, Permissions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::{
        fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use crate::failure::Failure;

/// Who may operate the switch: root, and the group of the socket.
const SOCKET_MODE: u32 = 0o660;
const DIRECTORY_MODE: u32 = 0o755;
/// How long a daemon that has just been killed may still hold its lock: the kernel gives back its
/// memory and sockets first.
const RELEASE_DEADLINE: Duration = Duration::from_secs(2);
/// How often to look meanwhile.
const RELEASE_INTERVAL: Duration = Duration::from_millis(5);

/// The right to be the daemon of one socket. Dropping it removes the socket.
#[derive(Debug)]
pub struct Instance {
    socket: PathBuf,
    bound: bool,
    _lock: File,
}

impl Instance {
    /// Takes the right to a socket, unless a live daemon has it.
    ///
    /// # Errors
    /// When there is another daemon, or the folder cannot be made or written.
    pub fn claim(socket: &Path) -> Result<Self, Failure> {
        let cannot = |what: &str, path: &Path, error: io::Error| {
            Failure::failed(format!("cannot {what} {}: {error}", path.display()))
                .help("name a place that you may write to with --socket or in SHUNT_SOCKET")
        };
        if let Some(directory) = socket.parent().filter(|path| !path.as_os_str().is_empty()) {
            fs::DirBuilder::new()
                .recursive(true)
                .mode(DIRECTORY_MODE)
                .create(directory)
                .map_err(|error| cannot("make the folder", directory, error))?;
        }
        let path = beside(socket, ".lock");
        let mut lock = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| cannot("open", &path, error))?;
        let deadline = Instant::now() + RELEASE_DEADLINE;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                    thread::sleep(RELEASE_INTERVAL);
                }
                Err(TryLockError::WouldBlock) => return Err(taken(socket, &mut lock)),
                Err(TryLockError::Error(error)) => return Err(cannot("lock", &path, error)),
            }
        }
        // Only for the message above: that it cannot be written is no reason to stop.
        let _ = lock
            .set_len(0)
            .and_then(|()| lock.rewind())
            .and_then(|()| writeln!(lock, "{}", std::process::id()));
        Ok(Self {
            socket: socket.to_owned(),
            bound: false,
            _lock: lock,
        })
    }

    /// Listens on the socket, in place of what a killed daemon has left there.
    ///
    /// # Errors
    /// When something else than a socket is there, or it cannot be made.
    pub fn listen(&mut self) -> Result<UnixListener, Failure> {
        let name = self.socket.display();
        if let Ok(found) = fs::symlink_metadata(&self.socket)
            && !found.file_type().is_socket()
        {
            let message = format!("{name} is there and is no socket");
            return Err(Failure::failed(message).help("remove it, or use another --socket"));
        }
        // Under another name until its mode is right: then nobody can connect too early.
        let temporary = beside(&self.socket, ".new");
        let listen = || {
            match fs::remove_file(&temporary) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let listener = UnixListener::bind(&temporary)?;
            fs::set_permissions(&temporary, Permissions::from_mode(SOCKET_MODE))?;
            fs::rename(&temporary, &self.socket)?;
            listener.set_nonblocking(true)?;
            Ok(listener)
        };
        let listener = listen().map_err(|error| {
            Failure::failed(format!("cannot listen on {name}: {error}"))
                .help("name a place that you may write to with --socket or in SHUNT_SOCKET")
        })?;
        self.bound = true;
        Ok(listener)
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if self.bound {
            // The next daemon replaces what cannot be removed.
            let _ = fs::remove_file(&self.socket);
        }
    }
}

fn taken(socket: &Path, lock: &mut File) -> Failure {
    let mut pid = String::new();
    let _ = lock.read_to_string(&mut pid);
    let who = match pid.trim() {
        "" => String::new(),
        pid => format!(" (process {pid})"),
    };
    let message = format!("another daemon{who} has the socket {}", socket.display());
    Failure::failed(message).help("stop that one first, or give this one another --socket")
}

/// The path with something appended to its last part.
pub fn beside(socket: &Path, suffix: &str) -> PathBuf {
    let mut name = socket.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn there_is_one_daemon_and_a_dead_ones_socket_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("run/shunt.sock");
        let mut first = Instance::claim(&socket).unwrap();
        let listener = first.listen().unwrap();
        let mode = fs::metadata(&socket).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, SOCKET_MODE);
        UnixStream::connect(&socket).unwrap();

        let refused = Instance::claim(&socket).unwrap_err();
        let pid = format!("process {}", std::process::id());
        assert!(refused.message.contains(&pid), "{refused}");

        // As after kill -9: the lock is gone, the socket stays.
        first.bound = false;
        drop((first, listener));
        assert!(UnixStream::connect(&socket).is_err() && socket.exists());
        let mut second = Instance::claim(&socket).unwrap();
        let _listener = second.listen().unwrap();
        UnixStream::connect(&socket).unwrap();
        drop(second);
        assert!(!socket.exists());
    }

    #[test]
    fn what_is_no_socket_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "precious").unwrap();
        let refused = Instance::claim(&path).unwrap().listen().unwrap_err();
        assert!(refused.message.contains("is no socket"), "{refused}");
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }
}
