//! What the templates of attempts became, on its way into the database.

use super::{Change, Driver, Turn};
use crate::{engine::InstanceId, executor::Rendered, model::state::TaskState, scheduler::tick::Dispatch};

impl<D: Dispatch> Driver<D> {
    /// Keeps it, if the attempt is the present one.
    pub(super) fn rendered(&mut self, rendered: Rendered, turn: &mut Turn) {
        let Rendered { id, fields, label } = rendered;
        let Some(run) = self.runs.get(&id.instance.dag_run) else { return };
        let node = run.version.dag.index(&id.instance.task_id);
        let instance = node.map(|node| InstanceId { node, map_index: id.instance.map_index });
        let Some(row) = instance.and_then(|instance| run.state.instance(instance)) else { return };
        if row.state != TaskState::Running || (row.try_number, row.restarts) != (id.try_number, id.restart) {
            return;
        }
        if let Some(fields) = fields {
            turn.tick.commit.rendered_fields.insert((id.instance.clone(), id.try_number), fields);
        }
        if let Some(label) = label {
            turn.tick.change(Change::Task {
                dag_id: run.row.dag_id.clone(),
                run_id: run.row.run_id.clone(),
                key: run.row.key,
                task_id: id.instance.task_id.clone(),
                map_index: id.instance.map_index,
                state: row.state,
                try_number: row.try_number,
            });
            turn.tick.commit.labels.insert(id.instance, label);
        }
    }
}
