//! How much memory this process may use, as the kernel says.

use std::{fs, path::Path};

/// MiB that this process may use: what its control groups allow, or the machine has. None if the kernel does not tell.
pub fn memory_mib() -> Option<u64> {
    let read = |path: &Path| fs::read_to_string(path).ok();
    let own = read(Path::new("/proc/self/cgroup")).unwrap_or_default();
    let machine = total_bytes(&read(Path::new("/proc/meminfo"))?)?;
    let limits = files(&own).into_iter().filter_map(|file| read(Path::new(&file))?.trim().parse::<u64>().ok());
    Some(limits.fold(machine, u64::min) >> 20)
}

/// Where the limits of the groups in `/proc/self/cgroup` stand, and of those that they are in; a container sees its own as the root.
/// <https://docs.kernel.org/admin-guide/cgroup-v2.html>, `cgroup-v1/memory.html`.
fn files(own: &str) -> Vec<String> {
    let mut files = Vec::new();
    for line in own.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (root, name) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => continue,
        };
        let ancestors = Path::new(path).ancestors().filter_map(|group| group.to_str());
        files.extend(ancestors.map(|group| format!("{root}{}/{name}", group.trim_end_matches('/'))));
    }
    files
}

/// `MemTotal` of `/proc/meminfo`.
fn total_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_looked_for_in_the_groups_of_both_versions() {
        let own = "4:memory:/pods/a\n3:cpu,cpuacct:/\n0::/\n";
        let expected = [
            "/sys/fs/cgroup/memory/pods/a/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/pods/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory/memory.limit_in_bytes",
            "/sys/fs/cgroup/memory.max",
        ];
        assert_eq!(files(own), expected);
        assert_eq!(files("nonsense"), Vec::<String>::new());
        assert_eq!(total_bytes("MemFree: 1 kB\nMemTotal:       16384 kB\n"), Some(16 << 20));
        assert_eq!(total_bytes("MemTotal: many"), None);
        assert!(memory_mib().is_some_and(|mib| mib > 64));
    }
}
