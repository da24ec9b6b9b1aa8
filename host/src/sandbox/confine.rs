//! What a child takes from itself by the operating system, before it sees a guest's bytes.
//!
//! Two layers: limits, set first of all; and [`seal`], when the engine is up, after which the process can open no
//! file, make no socket, start no process and be looked at by no debugger. A system that lacks one of them is no
//! reason to stop; what is missing is returned, for the child's stderr.

use std::collections::BTreeMap;

use rustix::{
    io::Errno,
    process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit},
    thread::{disable_transparent_huge_pages, set_no_new_privs},
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

/// Limits of one child.
pub struct Limits {
    /// Seconds of CPU; then the system kills the process. None: unlimited.
    pub cpu_s: Option<u64>,
    /// Writable private memory, not counting what is only reserved. None: unlimited.
    pub memory_bytes: Option<u64>,
    pub open_files: u64,
    /// How much less CPU the process gets than its supervisor where both want it: 0 to 19.
    pub nice: i32,
}

/// Limits the process. To be called while it has one thread.
pub fn limit(limits: &Limits) -> Vec<String> {
    let mut missing = Vec::new();
    let mut note = |what: &str, result: Result<(), Errno>| {
        if let Err(error) = result {
            missing.push(format!("{what}: {error}"));
        }
    };
    note("no core dumps", lower(Resource::Core, 0));
    note("limit of open files", lower(Resource::Nofile, limits.open_files));
    if let Some(seconds) = limits.cpu_s {
        note("limit of CPU time", lower(Resource::Cpu, seconds));
    }
    if let Some(bytes) = limits.memory_bytes {
        // Not RLIMIT_AS: a guest's memory is a reservation of 4 GiB, of which this counts what is used.
        note("limit of memory", lower(Resource::Data, bytes));
    }
    note("lower priority", rustix::process::nice(limits.nice).map(drop));
    note("no new privileges", set_no_new_privs(true));
    // Of each stack and table of a pool a few KiB are used, and a huge page would take 2 MiB for them.
    note("no huge pages", disable_transparent_huge_pages(true));
    missing
}

/// Limits `resource` for good. A limit that is lower already stays: only the system's administrator may raise one.
fn lower(resource: Resource, to: u64) -> Result<(), Errno> {
    let limit = Some(getrlimit(resource).maximum.map_or(to, |maximum| maximum.min(to)));
    setrlimit(resource, Rlimit { current: limit, maximum: limit })
}

/// Closes the doors. To be called when the engine is up (it opens `/proc/self/pagemap`, which a process that is not
/// dumpable can't), and tokio's runtime too (it makes sockets for itself). It holds for threads that run already.
pub fn seal() -> Vec<String> {
    let mut missing = Vec::new();
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        missing.push(format!("not dumpable: {error}"));
    }
    match filters() {
        Ok(filters) => {
            for filter in filters {
                if let Err(error) = seccompiler::apply_filter_all_threads(&filter) {
                    missing.push(format!("system call filter: {error}"));
                }
            }
        }
        Err(error) => missing.push(format!("system call filter: {error}")),
    }
    missing
}

/// What both children need once the engine is up. All else answers EPERM.
const ALLOWED: &[libc::c_long] = &[
    // the channel to the supervisor, and stderr
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_shutdown,
    libc::SYS_close,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_lseek,
    // tokio
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_eventfd2,
    libc::SYS_ppoll,
    // memory, and a guest's images in memfds
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_mprotect,
    libc::SYS_madvise,
    libc::SYS_memfd_create,
    libc::SYS_ftruncate,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_membarrier,
    // threads and signals
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_tgkill,
    libc::SYS_sigaltstack,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // clocks and randomness
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
];

/// Older calls that only this architecture has.
#[cfg(target_arch = "x86_64")]
const ALLOWED_HERE: &[libc::c_long] = &[libc::SYS_epoll_wait, libc::SYS_poll, libc::SYS_arch_prctl];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[libc::c_long] = &[];

/// `PAGEMAP_SCAN` of linux/fs.h.
const PAGEMAP_SCAN: u64 = 0xc060_6610;

fn filters() -> Result<[BpfProgram; 2], Box<dyn std::error::Error>> {
    let argument = |index: u8, op: SeccompCmpOp, value: u64| {
        SeccompRule::new(vec![SeccompCondition::new(index, SeccompCmpArgLen::Dword, op, value)?])
    };
    let arch = std::env::consts::ARCH.try_into()?;

    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        ALLOWED.iter().chain(ALLOWED_HERE).map(|call| (*call, Vec::new())).collect();
    rules.insert(libc::SYS_ioctl, vec![argument(1, SeccompCmpOp::Eq, PAGEMAP_SCAN)?]);
    // A thread, never a process.
    let thread = u64::from(libc::CLONE_THREAD.cast_unsigned());
    rules.insert(libc::SYS_clone, vec![argument(0, SeccompCmpOp::MaskedEq(thread), thread)?]);
    // The names of threads.
    let set_name = u64::from(libc::PR_SET_NAME.cast_unsigned());
    rules.insert(libc::SYS_prctl, vec![argument(0, SeccompCmpOp::Eq, set_name)?]);
    // Decided by the other filter, which wins with what is stricter.
    rules.insert(libc::SYS_clone3, Vec::new());
    let eperm = SeccompAction::Errno(libc::EPERM.cast_unsigned());
    let allow = SeccompFilter::new(rules, eperm, SeccompAction::Allow, arch)?;

    // A filter can't see the flags of clone3; the C library then takes clone.
    let enosys = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
    let clone3 = [(libc::SYS_clone3, Vec::new())].into_iter().collect();
    let no_clone3 = SeccompFilter::new(clone3, SeccompAction::Allow, enosys, arch)?;
    // In this order: the second lets no further filter be set.
    Ok([no_clone3.try_into()?, allow.try_into()?])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_lowered_and_never_raised() {
        // Of what no other test uses.
        for (to, limit) in [(1_000, 1_000), (2_000, 1_000), (500, 500)] {
            lower(Resource::Msgqueue, to).unwrap();
            let now = getrlimit(Resource::Msgqueue);
            assert_eq!((now.current, now.maximum), (Some(limit), Some(limit)), "{to}");
        }
    }

    #[test]
    fn a_sealed_thread_opens_nothing_and_still_computes() {
        // Filters hold for the thread that sets them and for those that it starts.
        let sealed = std::thread::spawn(|| {
            for filter in filters().unwrap() {
                seccompiler::apply_filter(&filter).unwrap();
            }
            let file = std::fs::File::open("/proc/self/status").map_err(|error| error.kind());
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").map_err(|error| error.kind());
            let process = std::process::Command::new("/bin/true").status().map_err(|error| error.kind());
            let sum: u64 = std::thread::spawn(|| vec![1_u64; 1 << 20].into_iter().sum()).join().unwrap();
            (file.err(), socket.err(), process.err(), sum)
        });
        let denied = Some(std::io::ErrorKind::PermissionDenied);
        let (file, socket, process, sum) = sealed.join().unwrap();
        assert_eq!((file, socket, sum), (denied, denied, 1 << 20));
        assert!(process.is_some());
    }
}
