//! Which builds of airlock understand each other.

/// What a build says of itself where it has to fit another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// For people, as `0.3.1`.
    pub version: String,
    /// The number of the protocol between supervisors and runners; 0: it does not say.
    pub protocol: u32,
    /// What compiled code has to fit: the compiler, its settings, the CPU.
    pub code: String,
}

impl Build {
    /// Why a worker of the build `worker` can't run what a server of this one gives it, and what helps; none if it can.
    ///
    /// Versions may differ: what counts is what they say to each other, and the code.
    pub fn misfit(&self, worker: &Self) -> Option<String> {
        let who = |build: &Self| format!("airlock {}, protocol {}", build.version, build.protocol);
        if self.protocol != worker.protocol {
            return Some(format!(
                "the worker ({}) and this server ({}) speak differently: give both the same version of airlock; while an upgrade goes on, \
                 the worker is taken as soon as a server of its version leads",
                who(worker),
                who(self)
            ));
        }
        (self.code != worker.code).then(|| {
            format!(
                "the worker ({}) can't run the code that this server ({}) compiles: give both the same version of airlock, and CPUs of the \
                 same kind",
                who(worker),
                who(self)
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn builds_fit_if_they_speak_alike_and_compile_alike() {
        let build =
            |version: &str, protocol, code: &str| Build { version: version.into(), protocol, code: code.into() };
        let server = build("0.3.0", 2, "a");
        assert_eq!(server.misfit(&build("0.3.0", 2, "a")), None);
        assert_eq!(server.misfit(&build("0.3.1", 2, "a")), None);
        for (worker, said) in [
            (build("0.2.9", 1, "a"), ["airlock 0.2.9, protocol 1", "speak differently"]),
            (build("0.4.0", 3, "a"), ["airlock 0.4.0, protocol 3", "as soon as a server of its version leads"]),
            (build("", 0, "a"), ["protocol 0", "same version"]),
            (build("0.3.0", 2, "b"), ["can't run the code", "CPUs of the same kind"]),
        ] {
            let why = server.misfit(&worker).unwrap();
            assert!(said.iter().all(|said| why.contains(said)) && why.contains("airlock 0.3.0, protocol 2"), "{why}");
        }
    }
}
