//! What was changed on a device, on disk, so that it is known after the daemon was killed.
//!
//! One small JSON file for each device, named after its index, which a rename leaves alone. A
//! record from before a reboot, or of another network namespace, is of another device with the
//! same index: it is not read.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Namespace, Result, Trying as _, links::Link};

/// What the file holds beside the record.
#[derive(Debug, Serialize, Deserialize)]
struct Envelope<T> {
    /// The name, for people: it may have changed since.
    device: String,
    ifindex: u32,
    boot_id: String,
    namespace_inode: u64,
    record: T,
}

/// A record as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<T> {
    /// The name of the device when the record was saved.
    pub device: String,
    /// The index of the device.
    pub ifindex: u32,
    /// What was saved.
    pub record: T,
}

/// Saves the record of a device, in place of an older one. The file is whole at every moment.
///
/// # Errors
/// When the directory or the file cannot be written.
pub fn save<T: Serialize>(
    directory: &Path,
    namespace: &Namespace,
    link: &Link,
    record: &T,
) -> Result<()> {
    let path = path(directory, link.ifindex);
    write(&path, namespace, link, record).trying(|| format!("write {}", path.display()))
}

fn write<T: Serialize>(
    path: &Path,
    namespace: &Namespace,
    link: &Link,
    record: &T,
) -> io::Result<()> {
    let envelope = Envelope {
        device: link.name.clone(),
        ifindex: link.ifindex,
        boot_id: boot_id()?,
        namespace_inode: namespace.inode(),
        record,
    };
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    // The daemon that was killed while it wrote leaves the temporary file, and the next one
    // overwrites it.
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(&serde_json::to_vec_pretty(&envelope)?)?;
    file.sync_all()?;
    fs::rename(&temporary, path)
}

/// The record of the device with this index, if there is one of this boot and namespace.
///
/// # Errors
/// When there is a file that cannot be read or understood.
pub fn load<T: DeserializeOwned>(
    directory: &Path,
    namespace: &Namespace,
    ifindex: u32,
) -> Result<Option<Entry<T>>> {
    let path = path(directory, ifindex);
    let found = read(&path, namespace).trying(|| format!("read {}", path.display()))?;
    Ok(found.filter(|entry| entry.ifindex == ifindex))
}

fn read<T: DeserializeOwned>(path: &Path, namespace: &Namespace) -> io::Result<Option<Entry<T>>> {
    let text = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    // The envelope first: a record of another boot may be of another version.
    let whole: Envelope<serde_json::Value> = serde_json::from_slice(&text)?;
    if whole.boot_id != boot_id()? || whole.namespace_inode != namespace.inode() {
        return Ok(None);
    }
    Ok(Some(Entry {
        device: whole.device,
        ifindex: whole.ifindex,
        record: serde_json::from_value(whole.record)?,
    }))
}

/// Forgets the record of a device. That there is none is no error.
///
/// # Errors
/// When there is one that cannot be removed.
pub fn remove(directory: &Path, ifindex: u32) -> Result<()> {
    let path = path(directory, ifindex);
    match fs::remove_file(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.trying(|| format!("remove {}", path.display())),
    }
}

/// All records of this boot and namespace, by index. What cannot be read is left out.
#[must_use]
pub fn list<T: DeserializeOwned>(directory: &Path, namespace: &Namespace) -> Vec<Entry<T>> {
    let files = fs::read_dir(directory).into_iter().flatten().flatten();
    let indices = files.filter_map(|file| {
        let name = file.file_name().into_string().ok()?;
        let number = name.strip_prefix("device-")?.strip_suffix(".json")?;
        number.parse::<u32>().ok()
    });
    let mut indices: Vec<u32> = indices.collect();
    indices.sort_unstable();
    let load = |ifindex| load(directory, namespace, ifindex).ok().flatten();
    indices.into_iter().filter_map(load).collect()
}

fn path(directory: &Path, ifindex: u32) -> PathBuf {
    directory.join(format!("device-{ifindex}.json"))
}

fn boot_id() -> io::Result<String> {
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::testing::{Net, in_net};

    #[test]
    fn records_come_back() {
        let net = Net::new("state");
        let other = Net::new("other");
        net.ip("link add va type veth peer name vb");
        let directory = tempfile::tempdir().unwrap();
        let directory = &directory.path().join("state");
        let ifindex = in_net(&net, async |namespace| {
            let link = namespace.link("va").await.unwrap().unwrap();
            let found = load::<Vec<u8>>(directory, &namespace, link.ifindex);
            assert_eq!(found.unwrap(), None);
            assert_eq!(list::<Vec<u8>>(directory, &namespace), []);
            save(directory, &namespace, &link, &vec![1u8]).unwrap();
            save(directory, &namespace, &link, &vec![2u8]).unwrap();
            let entry = load::<Vec<u8>>(directory, &namespace, link.ifindex);
            let entry = entry.unwrap().unwrap();
            assert_eq!((entry.device.as_str(), &entry.record), ("va", &vec![2]));
            assert_eq!(list(directory, &namespace), [entry]);
            assert_eq!(fs::read_dir(directory).unwrap().count(), 1);
            assert!(load::<String>(directory, &namespace, link.ifindex).is_err());
            link.ifindex
        });
        in_net(&other, async |namespace| {
            // The same index in another namespace is another device.
            let found = load::<Vec<u8>>(directory, &namespace, ifindex);
            assert_eq!(found.unwrap(), None);
        });
        in_net(&net, async |namespace| {
            let path = path(directory, ifindex);
            let text = fs::read_to_string(&path).unwrap();
            fs::write(&path, text.replace(&boot_id().unwrap(), "earlier")).unwrap();
            let found = load::<Vec<u8>>(directory, &namespace, ifindex);
            assert_eq!(found.unwrap(), None);
            remove(directory, ifindex).unwrap();
            remove(directory, ifindex).unwrap();
            assert!(!path.exists());
        });
    }
}
