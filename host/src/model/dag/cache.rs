//! How long results count.

use std::{ops::RangeInclusive, time::Duration};

use crate::model::spec::{NodeSpec, RoleSpec};

/// How long a result may count, in milliseconds: a second to 366 days.
const CACHE_MS: RangeInclusive<u64> = 1_000..=366 * 86_400_000;

/// For how long the node's results count, if they do.
///
/// # Errors
/// If it is too short or too long, or the node is a setup or teardown: what they do is done for their own run.
pub(super) fn cache(node: &NodeSpec) -> Result<Option<Duration>, String> {
    let Some(cache_ms) = node.cache_ms else { return Ok(None) };
    let what = match node.role {
        RoleSpec::Work => None,
        RoleSpec::Setup => Some("setup"),
        RoleSpec::Teardown { .. } => Some("teardown"),
    };
    if let Some(what) = what {
        return Err(format!("it is a {what} and has `cache`; leave that out: a {what} works for its own run"));
    }
    if !CACHE_MS.contains(&cache_ms) {
        return Err(format!("its `cache` of {cache_ms} ms is not from 1 s to 366 days"));
    }
    Ok(Some(Duration::from_millis(cache_ms)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_bounds_and_only_work_has_a_cache() {
        let node = |cache_ms, role| NodeSpec { cache_ms, role, ..NodeSpec::new("a", "a") };
        let teardown = || RoleSpec::Teardown { setups: Vec::new(), on_failure_fail_dagrun: false };
        assert_eq!(cache(&node(None, teardown())), Ok(None));
        for good in [1_000, 86_400_000, 366 * 86_400_000] {
            assert_eq!(cache(&node(Some(good), RoleSpec::Work)), Ok(Some(Duration::from_millis(good))));
        }
        for bad in [0, 999, 366 * 86_400_000 + 1, u64::MAX] {
            let why = cache(&node(Some(bad), RoleSpec::Work)).unwrap_err();
            assert_eq!(why, format!("its `cache` of {bad} ms is not from 1 s to 366 days"));
        }
        for (role, what) in [(RoleSpec::Setup, "it is a setup"), (teardown(), "it is a teardown")] {
            let why = cache(&node(Some(1_000), role)).unwrap_err();
            assert!(why.starts_with(what), "{why}");
        }
    }
}
