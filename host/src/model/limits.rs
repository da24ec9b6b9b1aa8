//! What all attempts of one dag may have together: memory at a time, and of other things so much a day.
//!
//! By day and not by run, for a dag that makes many runs takes as much as one that makes a long one. A day is one of UTC. Nothing
//! is limited unless somebody says so.

use serde::{Deserialize, Serialize};

use super::{
    dag_numbers::{DagNumbers, Field},
    ids::DagId,
    time::Timestamp,
};

/// What may be said of each.
pub const MAX_LIMIT: u32 = 1_000_000_000;
const DAY_US: i64 = 86_400_000_000;

/// What is said of one dag; None: what the server's settings say. What the settings say; None: nothing. In both, 0: as much as there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DagLimits {
    /// Memory of the attempts that run, each as much as its dag asks for.
    pub memory_mib: Option<u32>,
    pub cpu_seconds_per_day: Option<u32>,
    pub log_mib_per_day: Option<u32>,
    pub data_mib_per_day: Option<u32>,
    pub network_mib_per_day: Option<u32>,
    pub host_calls_per_day: Option<u32>,
}

/// Of what attempts may have so much a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// Microseconds of guests in their runners.
    Cpu,
    /// Bytes of lines, before they are compressed.
    Logs,
    /// Bytes of artifacts and XComs, results among them, as they are written; what is replaced or thrown away stays counted.
    Data,
    /// Bytes to and from the network, as `model::traffic` counts them.
    Network,
    HostCalls,
}

impl Resource {
    pub const ALL: [Self; 5] = [Self::Cpu, Self::Logs, Self::Data, Self::Network, Self::HostCalls];

    /// The limit's name in the API, in settings after `limits.`, and with `-` for `_` as a flag.
    pub const fn field(self) -> &'static str {
        match self {
            Self::Cpu => "cpu_seconds_per_day",
            Self::Logs => "log_mib_per_day",
            Self::Data => "data_mib_per_day",
            Self::Network => "network_mib_per_day",
            Self::HostCalls => "host_calls_per_day",
        }
    }

    /// What follows the number, in words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Cpu => "seconds of CPU time",
            Self::Logs => "MiB of logs",
            Self::Data => "MiB of artifacts and XComs",
            Self::Network => "MiB to and from the network",
            Self::HostCalls => "host calls",
        }
    }

    /// How much of it a limit's unit is.
    pub fn unit(self) -> u64 {
        match self {
            Self::Cpu => 1_000_000,
            Self::Logs | Self::Data | Self::Network => 1 << 20,
            Self::HostCalls => 1,
        }
    }
}

impl DagNumbers for DagLimits {
    const UNBOUNDED: &'static str = "any";
    const FIELDS: &'static [Field<Self>] = &[
        Field { name: "memory_mib", most: MAX_LIMIT, place: |limits| &mut limits.memory_mib },
        Field { name: Resource::Cpu.field(), most: MAX_LIMIT, place: |limits| &mut limits.cpu_seconds_per_day },
        Field { name: Resource::Logs.field(), most: MAX_LIMIT, place: |limits| &mut limits.log_mib_per_day },
        Field { name: Resource::Data.field(), most: MAX_LIMIT, place: |limits| &mut limits.data_mib_per_day },
        Field { name: Resource::Network.field(), most: MAX_LIMIT, place: |limits| &mut limits.network_mib_per_day },
        Field { name: Resource::HostCalls.field(), most: MAX_LIMIT, place: |limits| &mut limits.host_calls_per_day },
    ];
}

impl DagLimits {
    /// What holds for a dag of which this is said.
    #[must_use]
    pub fn or(mut self, server: Self) -> Self {
        for field in Self::FIELDS {
            *(field.place)(&mut self) = self.get(field).or(server.get(field));
        }
        self
    }

    /// Memory that its attempts may have at a time; None: any.
    pub fn memory_mib(self) -> Option<u32> {
        self.memory_mib.filter(|mib| *mib > 0)
    }

    /// So much of `resource` a day, in its limit's unit; None: any.
    pub fn per_day(self, resource: Resource) -> Option<u32> {
        let said = match resource {
            Resource::Cpu => self.cpu_seconds_per_day,
            Resource::Logs => self.log_mib_per_day,
            Resource::Data => self.data_mib_per_day,
            Resource::Network => self.network_mib_per_day,
            Resource::HostCalls => self.host_calls_per_day,
        };
        said.filter(|limit| *limit > 0)
    }

    /// Lets through `amount` of `resource`, had in a day.
    ///
    /// # Errors
    /// With the limit that it is over.
    fn check_day(self, resource: Resource, amount: u64) -> Result<(), u32> {
        match self.per_day(resource).filter(|limit| amount > u64::from(*limit) * resource.unit()) {
            Some(limit) => Err(limit),
            None => Ok(()),
        }
    }

    /// Whether something is limited by day.
    pub fn has_day(self) -> bool {
        Resource::ALL.into_iter().any(|resource| self.per_day(resource).is_some())
    }
}

/// A dag has had all that it may have today. As the end of a sentence, as "it used ...".
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "more than the {limit} {} that dag `{dag_id}` may have a day (limit `{}`); it may go on after midnight UTC, or when an admin allows more: \
     `airlock limits set {dag_id} --{} N`",
    .resource.words(),
    .resource.field(),
    .resource.field().replace('_', "-"),
)]
pub struct OverLimit {
    pub dag_id: DagId,
    pub resource: Resource,
    /// In its unit.
    pub limit: u32,
}

/// What a dag's attempts have had on one day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Spent {
    /// Days since 1970, of UTC.
    pub day: i64,
    amounts: [u64; Resource::ALL.len()],
}

impl Spent {
    /// Nothing yet, on the day of `at`.
    pub fn on(at: Timestamp) -> Self {
        Self::of_day(at.as_micros().div_euclid(DAY_US))
    }

    /// Nothing yet.
    pub fn of_day(day: i64) -> Self {
        Self { day, ..Self::default() }
    }

    /// With what was counted before.
    #[must_use]
    pub fn with(mut self, resource: Resource, amount: u64) -> Self {
        self.amounts[resource as usize] = amount;
        self
    }

    pub fn of(&self, resource: Resource) -> u64 {
        self.amounts[resource as usize]
    }

    /// As it stands at `now`: nothing, if that is another day.
    #[must_use]
    pub fn at(self, now: Timestamp) -> Self {
        let today = Self::on(now);
        // A clock that is put back gives nobody a day twice.
        if self.day >= today.day { self } else { today }
    }

    /// Counts `amount`, if the dag may have it.
    ///
    /// # Errors
    /// With the limit that it would be over; then nothing was counted.
    pub fn spend(&mut self, limits: DagLimits, resource: Resource, amount: u64, now: Timestamp) -> Result<(), u32> {
        let mut spent = *self;
        spent.had(limits, resource, amount, now)?;
        *self = spent;
        Ok(())
    }

    /// Counts `amount`, which the dag has had already.
    ///
    /// # Errors
    /// With the limit that it is over now.
    pub fn had(&mut self, limits: DagLimits, resource: Resource, amount: u64, now: Timestamp) -> Result<(), u32> {
        *self = self.at(now);
        let all = self.of(resource).saturating_add(amount);
        self.amounts[resource as usize] = all;
        limits.check_day(resource, all)
    }

    /// Lets through who may have more of `resource`.
    ///
    /// # Errors
    /// With the limit that is reached.
    pub fn left(&self, limits: DagLimits, resource: Resource, now: Timestamp) -> Result<(), u32> {
        limits.check_day(resource, self.at(now).of(resource).saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn at(hours: u64) -> Timestamp {
        "2026-03-01T00:00:00Z".parse::<Timestamp>().unwrap().after(Duration::from_hours(hours))
    }

    const LIMITS: DagLimits = DagLimits {
        memory_mib: Some(512),
        cpu_seconds_per_day: Some(10),
        log_mib_per_day: Some(1),
        data_mib_per_day: None,
        network_mib_per_day: Some(0),
        host_calls_per_day: Some(3),
    };

    #[test]
    fn a_dag_says_what_the_server_does_not_and_0_is_any() {
        let own = DagLimits { cpu_seconds_per_day: Some(0), data_mib_per_day: Some(7), ..DagLimits::default() };
        let holds = own.or(LIMITS);
        assert_eq!((holds.memory_mib(), holds.per_day(Resource::Cpu)), (Some(512), None));
        assert_eq!((holds.per_day(Resource::Data), holds.per_day(Resource::Network)), (Some(7), None));
        assert!(LIMITS.has_day() && DagLimits::default().is_empty());
        assert!(!DagLimits { memory_mib: Some(1), host_calls_per_day: Some(0), ..DagLimits::default() }.has_day());
    }

    #[test]
    fn numbers_have_bounds_that_are_told() {
        let error = DagLimits { log_mib_per_day: Some(MAX_LIMIT + 1), ..LIMITS }.check().unwrap_err().to_string();
        assert_eq!(
            error,
            "`log_mib_per_day` can be 0 (any) to 1000000000, or null for what the server's settings say, not 1000000001"
        );
        assert_eq!(DagLimits { memory_mib: Some(MAX_LIMIT), ..LIMITS }.check(), Ok(()));
    }

    #[test]
    fn what_may_be_had_is_had_to_the_last_and_what_was_refused_is_not_counted() {
        let mut spent = Spent::on(at(0));
        for (resource, amount, expected) in [
            (Resource::HostCalls, 2, Ok(())),
            (Resource::HostCalls, 2, Err(3)),
            (Resource::HostCalls, 1, Ok(())),
            (Resource::HostCalls, 1, Err(3)),
            (Resource::Logs, 1 << 20, Ok(())),
            (Resource::Logs, 1, Err(1)),
            // Nobody limits these.
            (Resource::Data, u64::MAX, Ok(())),
            (Resource::Data, 1, Ok(())),
            (Resource::Network, u64::MAX, Ok(())),
        ] {
            assert_eq!(spent.spend(LIMITS, resource, amount, at(1)), expected, "{resource:?} {amount}");
        }
        assert_eq!(spent.left(LIMITS, Resource::HostCalls, at(1)), Err(3));
        assert_eq!(spent.left(LIMITS, Resource::Cpu, at(1)), Ok(()));
    }

    #[test]
    fn what_was_had_is_counted_also_beyond_the_limit() {
        let mut spent = Spent::on(at(0));
        assert_eq!(spent.had(LIMITS, Resource::Cpu, 9_999_999, at(1)), Ok(()));
        assert_eq!(spent.left(LIMITS, Resource::Cpu, at(1)), Ok(()));
        assert_eq!(spent.had(LIMITS, Resource::Cpu, 1, at(1)), Ok(()));
        assert_eq!(spent.left(LIMITS, Resource::Cpu, at(1)), Err(10));
        assert_eq!(spent.had(LIMITS, Resource::Cpu, 5, at(1)), Err(10));
        assert_eq!(spent.of(Resource::Cpu), 10_000_005);
    }

    #[test]
    fn a_day_begins_at_midnight_utc_and_only_once() {
        let mut spent = Spent::on(at(0));
        assert_eq!(spent.spend(LIMITS, Resource::HostCalls, 3, at(23)), Ok(()));
        assert_eq!(spent.spend(LIMITS, Resource::HostCalls, 1, at(23)), Err(3));
        assert_eq!(spent.left(LIMITS, Resource::HostCalls, at(24)), Ok(()));
        assert_eq!(spent.spend(LIMITS, Resource::HostCalls, 3, at(24)), Ok(()));
        // The clock was put back.
        assert_eq!(spent.spend(LIMITS, Resource::HostCalls, 1, at(23)), Err(3));
        assert_eq!((spent.day, spent.of(Resource::HostCalls)), (Spent::on(at(24)).day, 3));
    }

    #[test]
    fn an_error_names_dag_limit_and_way_out() {
        let dag_id = DagId::new("etl").unwrap();
        for resource in Resource::ALL {
            let text = OverLimit { dag_id: dag_id.clone(), resource, limit: 7 }.to_string();
            let flag = resource.field().replace('_', "-");
            for part in ["the 7 ", "dag `etl`", resource.field(), &format!("airlock limits set etl --{flag} N")] {
                assert!(text.contains(part), "{text}");
            }
        }
    }

    proptest! {
        /// However it is asked for, no more is had in a day than may be.
        #[test]
        fn nobody_has_more_a_day(limit in 1_u32..50, asked in proptest::collection::vec((1_u64..20, 0_u64..2), 0..80)) {
            let limits = DagLimits { host_calls_per_day: Some(limit), ..DagLimits::default() };
            let (mut spent, mut now, mut had) = (Spent::on(at(0)), at(0), 0);
            for (amount, hours) in asked {
                let before = Spent::on(now).day;
                now = now.after(Duration::from_hours(hours));
                if Spent::on(now).day != before {
                    had = 0;
                }
                if spent.spend(limits, Resource::HostCalls, amount, now).is_ok() {
                    had += amount;
                } else {
                    prop_assert!(had + amount > u64::from(limit));
                }
                prop_assert!(had <= u64::from(limit));
                prop_assert_eq!(spent.at(now).of(Resource::HostCalls), had);
            }
        }
    }
}
