//! What all processes on one database agree upon: which object storage is the database's, and the settings.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// The setting in the database that names its object storage: a [`StorageMark`].
pub const STORAGE: &str = "storage";
/// The setting in the database that holds the settings of the process that leads: [`SharedSettings`].
pub const LEADER_SETTINGS: &str = "leader_settings";

/// The object storage of a database, as the database names it. One that is moved with its objects stays the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageMark {
    /// Stands in the storage, too.
    pub id: String,
    /// Where it was when a process led last; for people.
    pub place: String,
}

/// What a storage is to a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Belonging {
    /// The database's.
    Ours,
    /// The database has none yet.
    Open,
    /// The database's is another one. `is_marked`: it is that of another database.
    Another { is_marked: bool },
}

/// Compares what the database says with what stands in the storage.
pub fn belonging(of_database: Option<&StorageMark>, of_storage: Option<&str>) -> Belonging {
    match (of_database, of_storage) {
        (None, _) => Belonging::Open,
        (Some(ours), Some(id)) if ours.id == id => Belonging::Ours,
        (Some(_), id) => Belonging::Another { is_marked: id.is_some() },
    }
}

/// Settings by their keys; none: it is not set. Of secrets only whether they are set.
pub type SharedSettings = BTreeMap<String, Option<String>>;

/// The settings that are not the same `here` and `there`, each with what it is here and there, in words. What only one of the two knows
/// is of another version, and no difference.
pub fn differences(here: &SharedSettings, there: &SharedSettings) -> Vec<String> {
    let both: BTreeSet<_> = here.keys().filter(|key| there.contains_key(*key)).collect();
    let word = |value: &Option<String>| value.as_ref().map_or("not set".to_owned(), |value| format!("`{value}`"));
    both.into_iter()
        .filter(|key| here[*key] != there[*key])
        .map(|key| format!("`{key}` (here {}, there {})", word(&here[key]), word(&there[key])))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storage_is_known_by_its_mark_and_not_by_its_place() {
        let mark = StorageMark { id: "a".into(), place: "s3://airlock".into() };
        for (of_database, of_storage, expected) in [
            (None, None, Belonging::Open),
            (None, Some("a"), Belonging::Open),
            (Some(&mark), Some("a"), Belonging::Ours),
            (Some(&mark), Some("b"), Belonging::Another { is_marked: true }),
            (Some(&mark), None, Belonging::Another { is_marked: false }),
        ] {
            assert_eq!(belonging(of_database, of_storage), expected, "{of_database:?} {of_storage:?}");
        }
    }

    #[test]
    fn settings_that_differ_are_named_with_both_values() {
        let of = |pairs: &[(&str, Option<&str>)]| -> SharedSettings {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), value.map(str::to_owned))).collect()
        };
        let here = of(&[("parallelism", Some("4")), ("workers.token", None), ("new", Some("1")), ("same", None)]);
        let there = of(&[("parallelism", Some("8")), ("workers.token", Some("***")), ("old", None), ("same", None)]);
        assert_eq!(
            differences(&here, &there),
            ["`parallelism` (here `4`, there `8`)", "`workers.token` (here not set, there `***`)"]
        );
        assert!(differences(&here, &here).is_empty());
    }
}
