//! Processes and their children.

use std::fs;

use rustix::process::{Pid, Signal, kill_process};

/// A process, its children, and theirs.
pub fn family(pid: u32) -> Vec<u32> {
    let mut all = vec![pid];
    let mut at = 0;
    while let Some(pid) = all.get(at).copied() {
        at += 1;
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        for task in tasks {
            let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
            all.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
    }
    all
}

/// Kills the children of a process, and theirs.
pub fn kill_children(pid: u32) {
    for pid in family(pid).into_iter().skip(1) {
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("it is the number of a process");
        // It may have ended meanwhile.
        let _ = kill_process(pid, Signal::KILL);
    }
}
