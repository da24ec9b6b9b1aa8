//! Names that lists are filtered by: `<name>_pattern`, `<name>_prefix_pattern`, as [`pattern`] reads them.

use serde::Deserialize;
use utoipa::IntoParams;

use super::{error::ApiError, extract::pattern};
use crate::store::Like;

macro_rules! patterns {
    ($(#[$what:meta])* $query:ident { $($name:ident: $holds:ident $begins:ident,)* }) => {
        $(#[$what])*
        #[derive(Debug, Clone, Default, Deserialize, IntoParams)]
        #[serde(default)]
        #[into_params(parameter_in = Query)]
        #[expect(clippy::struct_field_names, reason = "they are the parameters")]
        pub struct $query {
            $(
                $holds: Option<String>,
                $begins: Option<String>,
            )*
        }

        impl $query {
            $(
                /// # Errors
                /// As [`pattern`].
                pub fn $name(&self) -> Result<Like, ApiError> {
                    pattern(self.$holds.as_deref(), self.$begins.as_deref())
                }
            )*
        }
    };
}

patterns!(
    /// Which runs, by names.
    DagRunPatterns {
        dag_id: dag_id_pattern dag_id_prefix_pattern,
        run_id: run_id_pattern run_id_prefix_pattern,
        triggering_user: triggering_user_name_pattern triggering_user_name_prefix_pattern,
    }
);

patterns!(
    /// Which task instances, by names.
    TaskInstancePatterns {
        dag_id: dag_id_pattern dag_id_prefix_pattern,
        run_id: run_id_pattern run_id_prefix_pattern,
        entry: operator_name_pattern operator_name_prefix_pattern,
        pool: pool_name_pattern pool_name_prefix_pattern,
        rendered_map_index: rendered_map_index_pattern rendered_map_index_prefix_pattern,
        queue: queue_name_pattern queue_name_prefix_pattern,
        task_display_name: task_display_name_pattern task_display_name_prefix_pattern,
    }
);

patterns!(
    /// Which entries of the audit log, by names.
    EventLogPatterns {
        dag_id: dag_id_pattern dag_id_prefix_pattern,
        run_id: run_id_pattern run_id_prefix_pattern,
        task_id: task_id_pattern task_id_prefix_pattern,
        event: event_pattern event_prefix_pattern,
        owner: owner_pattern owner_prefix_pattern,
    }
);

patterns!(
    /// Which questions, by names.
    ApprovalPatterns {
        dag_id: dag_id_pattern dag_id_prefix_pattern,
        task_id: task_id_pattern task_id_prefix_pattern,
    }
);

patterns!(
    /// Which XComs, by names.
    XComPatterns {
        key: xcom_key_pattern xcom_key_prefix_pattern,
        dag_display_name: dag_display_name_pattern dag_display_name_prefix_pattern,
        run_id: run_id_pattern run_id_prefix_pattern,
        task_id: task_id_pattern task_id_prefix_pattern,
    }
);
