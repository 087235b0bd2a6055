//! The demo's namespaces and processes: how they are made, called and removed.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

/// How the names of all demos begin; the process id follows.
const PREFIX: &str = "shunt-demo-";
/// What the sweeper reads when it is to leave everything standing.
pub const KEEP: &[u8] = b"keep";
/// The time that a daemon has to put its interfaces back.
const GRACE: Duration = Duration::from_secs(5);

/// The namespaces of one demo, which begin with its name, and its folder.
pub struct Stage {
    name: String,
    shunt: PathBuf,
}

impl Stage {
    /// An empty stage for this process.
    pub fn new(shunt: PathBuf) -> Result<Self> {
        ensure!(shunt.exists(), "{} is not built", shunt.display());
        let name = format!("{PREFIX}{}", std::process::id());
        fs::create_dir_all(folder(&name))?;
        Ok(Self { name, shunt })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The binary.
    pub fn shunt(&self) -> &Path {
        &self.shunt
    }

    /// The namespace of this host or guest.
    pub fn namespace(&self, who: &str) -> String {
        format!("{}-{who}", self.name)
    }

    /// A file of this host: its configuration, socket or log.
    pub fn file(&self, host: &str, extension: &str) -> PathBuf {
        folder(&self.name).join(format!("{host}.{extension}"))
    }

    pub fn add_namespace(&self, who: &str) -> Result<()> {
        checked(Command::new("ip").args(["netns", "add", &self.namespace(who)]))?;
        self.run(who, "ip link set lo up")?;
        Ok(())
    }

    /// A cable: a veth pair with each end in a namespace, both up.
    pub fn add_cable(
        &self,
        (a, device_a): (&str, &str),
        (b, device_b): (&str, &str),
    ) -> Result<()> {
        let peer = self.namespace(b);
        self.run(
            a,
            &format!("ip link add {device_a} type veth peer name {device_b} netns {peer}"),
        )?;
        self.run(a, &format!("ip link set {device_a} up"))?;
        self.run(b, &format!("ip link set {device_b} up"))?;
        Ok(())
    }

    /// A command inside a namespace; words are separated by spaces.
    pub fn command(&self, who: &str, words: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace(who)]);
        command.args(words.split(' ')).stdin(Stdio::null());
        command
    }

    /// Runs a command inside a namespace to its end.
    ///
    /// # Errors
    /// When it fails, with what it said.
    pub fn run(&self, who: &str, words: &str) -> Result<Output> {
        checked(&mut self.command(who, words))
    }

    /// Runs the switch of a host, in the background.
    pub fn start_switch(&self, host: &str, config: &str) -> Result<()> {
        let path = self.file(host, "toml");
        fs::write(&path, config)?;
        let log = File::create(self.file(host, "log"))?;
        let mut command = self.command(host, &self.shunt.display().to_string());
        command.arg("run").arg("--config").arg(path);
        command.arg("--socket").arg(self.file(host, "sock"));
        command.stdout(log.try_clone()?).stderr(log).spawn()?;
        Ok(())
    }

    /// What `shunt` says about a host's switch.
    pub fn ask(&self, host: &str, words: &str) -> Result<String> {
        let mut command = Command::new(&self.shunt);
        command.args(words.split(' '));
        command.arg("--socket").arg(self.file(host, "sock"));
        Ok(String::from_utf8_lossy(&checked(&mut command)?.stdout).into_owned())
    }

    /// Waits until all ports of a host's switch are up, and says how long that took.
    pub fn wait_for_ports(&self, host: &str, limit: Duration) -> Result<Duration> {
        let start = Instant::now();
        loop {
            let answer = self.ask(host, "get ports -o json");
            if answer.as_deref().is_ok_and(all_up) {
                return Ok(start.elapsed());
            }
            if start.elapsed() > limit {
                bail!("not all ports of {host} are up after {limit:?}: {answer:?}");
            }
            sleep(Duration::from_millis(20));
        }
    }

    /// Prints what the daemons have logged.
    pub fn print_logs(&self) {
        let Ok(files) = fs::read_dir(folder(&self.name)) else {
            return;
        };
        for path in files.flatten().map(|file| file.path()) {
            if path.extension().is_some_and(|extension| extension == "log") {
                println!("\n-- {}", path.display());
                println!("{}", fs::read_to_string(&path).unwrap_or_default());
            }
        }
    }
}

/// Whether the answer to `get ports -o json` has ports, and only such as are up.
fn all_up(json: &str) -> bool {
    let Ok(Value::Array(ports)) = serde_json::from_str(json) else {
        return false;
    };
    !ports.is_empty() && ports.iter().all(|port| port["state"] == "up")
}

fn folder(name: &str) -> PathBuf {
    std::env::temp_dir().join(name)
}

/// Runs a command to its end; an error has what it said.
fn checked(command: &mut Command) -> Result<Output> {
    let output = command
        .output()
        .with_context(|| format!("{:?} does not run", command.get_program()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?}: {}: {}", output.status, said.trim());
    }
    Ok(output)
}

/// Waits for the end of standard input, then removes the demo, unless told to keep it.
pub fn sweep_at_end_of_input(name: &str) -> Result<()> {
    let mut input = Vec::new();
    std::io::stdin().read_to_end(&mut input)?;
    if input == KEEP { Ok(()) } else { sweep(name) }
}

/// Removes the demos whose process has ended.
pub fn stop_kept() -> Result<()> {
    let mut names: Vec<String> = namespaces()?
        .iter()
        .filter_map(|namespace| demo_of(namespace))
        .collect();
    names.sort();
    names.dedup();
    if names.is_empty() {
        println!("no demo is standing");
    }
    for name in names {
        if is_playing(&name) {
            println!("{name} is playing: end it with Ctrl-C there");
        } else {
            sweep(&name)?;
            println!("{name} is removed");
        }
    }
    Ok(())
}

/// The demo that a namespace belongs to: `shunt-demo-12` for `shunt-demo-12-web-1`.
fn demo_of(namespace: &str) -> Option<String> {
    let (id, _) = namespace.strip_prefix(PREFIX)?.split_once('-')?;
    let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_digit());
    is_id.then(|| format!("{PREFIX}{id}"))
}

/// Whether the process of this demo is still a demo's.
fn is_playing(name: &str) -> bool {
    let id = name.strip_prefix(PREFIX).unwrap_or_default();
    let program = fs::read_link(format!("/proc/{id}/exe"));
    // A program that has been built anew since is shown as "xtask (deleted)".
    program.is_ok_and(|path| path.to_string_lossy().contains("/xtask"))
}

fn namespaces() -> Result<Vec<String>> {
    let output = checked(Command::new("ip").args(["netns", "list"]))?;
    let names = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(names
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect())
}

/// Ends the demo's processes, which are those in its namespaces, then deletes these.
fn sweep(name: &str) -> Result<()> {
    let of_this_demo = || -> Result<Vec<String>> {
        let mut all = namespaces()?;
        all.retain(|namespace| demo_of(namespace).as_deref() == Some(name));
        Ok(all)
    };
    // An interrupted demo may have been making one just now.
    loop {
        let namespaces = of_this_demo()?;
        if namespaces.is_empty() {
            break;
        }
        end_processes(&namespaces)?;
        for namespace in &namespaces {
            checked(Command::new("ip").args(["netns", "delete", namespace]))?;
        }
    }
    let folder = folder(name);
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    Ok(())
}

fn end_processes(namespaces: &[String]) -> Result<()> {
    signal_all(namespaces, "-TERM")?;
    let start = Instant::now();
    while !processes(namespaces)?.is_empty() && start.elapsed() < GRACE {
        sleep(Duration::from_millis(20));
    }
    signal_all(namespaces, "-KILL")
}

/// The ids of the processes in these namespaces.
fn processes(namespaces: &[String]) -> Result<Vec<String>> {
    let mut ids = Vec::new();
    for namespace in namespaces {
        let output = checked(Command::new("ip").args(["netns", "pids", namespace]))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        ids.extend(text.split_whitespace().map(str::to_owned));
    }
    Ok(ids)
}

fn signal_all(namespaces: &[String], signal: &str) -> Result<()> {
    for id in processes(namespaces)? {
        // One that has just ended is no error.
        Command::new("kill").args([signal, &id]).output()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_namespaces_of_demos_are_swept() {
        assert_eq!(demo_of("shunt-demo-12-web-1").unwrap(), "shunt-demo-12");
        for other in [
            "shunt-demo--web",
            "shunt-demo-x-y",
            "shunt-demo-12",
            "web-1",
            "shunttest-1-0-a",
        ] {
            assert_eq!(demo_of(other), None, "{other}");
        }
    }

    #[test]
    fn ports_are_up_when_there_are_some_and_all_are() {
        assert!(all_up(r#"[{"name": "a", "state": "up"}]"#));
        assert!(!all_up(r#"[{"state": "up"}, {"state": "down"}]"#));
        assert!(!all_up("[]"));
        assert!(!all_up("no JSON"));
    }
}
