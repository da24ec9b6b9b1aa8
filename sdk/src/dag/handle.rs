//! Handles: tasks of a dag that is being built.

use std::{fmt, marker::PhantomData, time::Duration};

use super::{Dag, Node, Role};
use crate::{
    assets::Asset,
    error::Error,
    options::{Options, Recording, TriggerRule, WeightRule},
};

/// A task of a dag that is being built, whose result is a `T`.
///
/// Given to another task function it is that task's input and an edge. The methods choose how the task is run.
///
/// ```
/// use airlock_sdk::prelude::*;
/// use std::time::Duration;
///
/// #[task]
/// fn extract() -> Result<Vec<u32>> { Ok(vec![1, 2, 3]) }
/// #[task]
/// fn sum(rows: Vec<u32>) -> u32 { rows.iter().sum() }
/// #[task]
/// fn clean_up() {}
///
/// #[dag]
/// fn sums(dag: &Dag) {
///     let rows = extract(dag).retries(3).retry_delay(Duration::from_secs(30)).timeout(Duration::from_secs(300));
///     let total = sum(dag, rows).id("total");
///     clean_up(dag).after((rows, total)).trigger_rule(TriggerRule::AllDone);
/// }
/// # let run = airlock_sdk::testing::Host::new().run_dag::<sums>().unwrap();
/// # assert_eq!(run.result::<u32>("total").unwrap(), 6);
/// ```
pub struct Handle<'dag, T> {
    pub(super) dag: &'dag Dag,
    pub(super) index: u32,
    pub(super) output: PhantomData<fn() -> T>,
}

impl<T> Clone for Handle<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Handle<'_, T> {}

impl<T> fmt::Debug for Handle<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Handle({})", self.index)
    }
}

#[expect(clippy::return_self_not_must_use, reason = "the task is in the dag whatever becomes of its handle")]
impl<T> Handle<'_, T> {
    fn change(self, change: impl FnOnce(&mut Node)) -> Self {
        change(&mut self.dag.graph.borrow_mut().nodes[self.index as usize]);
        self
    }

    fn options(self, change: impl FnOnce(&mut Options)) -> Self {
        self.change(|node| change(node.options.get_or_insert_with(|| Box::new(node.entry.options.clone()))))
    }

    /// The task's id, unique in the dag. By default the function's name, the second time `name__1` and so on.
    pub fn id(self, task_id: impl Into<String>) -> Self {
        self.change(|node| node.task_id = task_id.into())
    }

    /// What the page shows instead of the id.
    pub fn display_name(self, name: impl Into<String>) -> Self {
        self.options(|options| options.display_name = Some(name.into().into()))
    }

    /// Markdown that the page shows; by default the function's doc comment.
    pub fn doc(self, markdown: impl Into<String>) -> Self {
        self.options(|options| options.doc = Some(markdown.into().into()))
    }

    /// When the task may start, given its upstream tasks.
    pub fn trigger_rule(self, rule: TriggerRule) -> Self {
        self.options(|options| options.trigger_rule = rule)
    }

    /// Tries after the first.
    pub fn retries(self, retries: u32) -> Self {
        self.options(|options| options.retries = retries)
    }

    /// The wait before the second try; five minutes if nothing is said.
    pub fn retry_delay(self, delay: Duration) -> Self {
        self.options(|options| options.retry_delay_ms = millis(delay))
    }

    /// Each wait is the one before times this; 1 is constant.
    pub fn retry_backoff(self, factor: f64) -> Self {
        self.options(|options| options.retry_backoff = factor)
    }

    /// The longest wait before a try.
    pub fn max_retry_delay(self, delay: Duration) -> Self {
        self.options(|options| options.max_retry_delay_ms = Some(millis(delay)))
    }

    /// The longest that an attempt may take.
    pub fn timeout(self, limit: Duration) -> Self {
        self.options(|options| options.timeout_ms = Some(millis(limit)))
    }

    /// The pool whose slots the attempts take.
    pub fn pool(self, pool: impl Into<String>) -> Self {
        self.options(|options| options.pool = pool.into().into())
    }

    /// Slots that an attempt takes of its pool, at least 1.
    pub fn pool_slots(self, slots: u32) -> Self {
        self.options(|options| options.pool_slots = slots)
    }

    /// The queue in which attempts wait for a worker that serves it; `default` if this is left out.
    pub fn queue(self, queue: impl Into<String>) -> Self {
        self.options(|options| options.queue = Some(queue.into().into()))
    }

    /// Higher goes first where slots are short.
    pub fn priority_weight(self, weight: i32) -> Self {
        self.options(|options| options.priority_weight = weight)
    }

    /// What makes up the weight that counts: the task's own, or that with those of the tasks downstream or upstream.
    pub fn weight_rule(self, rule: WeightRule) -> Self {
        self.options(|options| options.weight_rule = Some(rule))
    }

    /// A template for what the page and the API call each instance of a mapped task, instead of its index: over all that
    /// [`Dag::template`] has, and `inputs`.
    pub fn map_index_template(self, template: impl Into<String>) -> Self {
        self.options(|options| options.map_index_template = Some(template.into().into()))
    }

    /// So many instances with the same key run at a time, of all tasks in all dags that have a key; at least 1. The key is a
    /// template over the run, its params, and those of the instance's inputs that are known when slots are given out: fixed ones,
    /// params, and elements of fixed lists.
    ///
    /// ```
    /// use airlock_sdk::prelude::*;
    ///
    /// #[task]
    /// fn load(shop: &str) -> usize { shop.len() }
    ///
    /// #[dag]
    /// fn loads(dag: &Dag) {
    ///     let shop = dag.list(["Seoul", "Busan"].map(String::from)).each();
    ///     load(dag, shop).concurrency("shop {{ inputs.shop }}", 1).map_index_template("{{ inputs.shop }}");
    /// }
    /// # let run = airlock_sdk::testing::Host::new().run_dag::<loads>().unwrap();
    /// # assert_eq!(run.results::<usize>("load"), [Some(5), Some(5)]);
    /// ```
    pub fn concurrency(self, key: impl Into<String>, limit: u32) -> Self {
        self.options(|options| options.concurrency = Some((key.into().into(), limit)))
    }

    /// A result counts for so long: until it is that old, another instance with the same component, inputs and grants takes it
    /// instead of running. From a second to 366 days. What the task reads besides its inputs does not count: hand the date over
    /// as `dag.template("{{ ds }}")` if it matters.
    ///
    /// ```
    /// use std::time::Duration;
    /// use airlock_sdk::prelude::*;
    ///
    /// #[task]
    /// fn prices(day: &str) -> usize { day.len() }
    ///
    /// #[dag(schedule = "@hourly", start = "2026-01-01")]
    /// fn shop(dag: &Dag) {
    ///     prices(dag, dag.template("{{ ds }}")).cache(Duration::from_secs(24 * 3600));
    /// }
    /// ```
    pub fn cache(self, duration: Duration) -> Self {
        self.options(|options| options.cache_ms = Some(millis(duration)))
    }

    /// The task makes `asset`: whenever it succeeds, the asset has an event, and dags that run after it have their runs.
    pub fn outlet(self, asset: Asset) -> Self {
        self.change(|node| node.assets.get_or_insert_default().outlets.push(asset))
    }

    /// The task reads `asset`.
    pub fn inlet(self, asset: Asset) -> Self {
        self.change(|node| node.assets.get_or_insert_default().inlets.push(asset))
    }

    /// An instance waits until this task succeeded or was skipped in the run before, by logical_date.
    pub fn depends_on_past(self) -> Self {
        self.options(|options| options.depends_on_past = true)
    }

    /// An instance waits until this task and those directly downstream of it succeeded or were skipped in the run
    /// before.
    pub fn wait_for_downstream(self) -> Self {
        self.options(|options| options.wait_for_downstream = true)
    }

    /// So many instances of the task run at a time, in all runs together; at least 1.
    pub fn max_active_tis_per_dag(self, limit: u32) -> Self {
        self.options(|options| options.max_active_tis_per_dag = Some(limit))
    }

    /// So many instances of the task run at a time in one run, if it is mapped; at least 1.
    pub fn max_active_tis_per_dagrun(self, limit: u32) -> Self {
        self.options(|options| options.max_active_tis_per_dagrun = Some(limit))
    }

    /// Which attempts are recorded for `airlock replay`.
    pub fn record(self, which: Recording) -> Self {
        self.options(|options| options.record = Some(which))
    }

    /// This task comes after `upstream`, without taking a value of it.
    ///
    /// `upstream` is a handle, or several: a tuple, an array, a slice, a `Vec`.
    pub fn after(self, upstream: impl Handles) -> Self {
        upstream.lasts(&mut |other| self.dag.order(other, self.node_ref()));
        self
    }

    /// This task comes after `upstream`, and the page shows `label` at the edge. Airflow: Label.
    pub fn after_labelled(self, label: &str, upstream: impl Handles) -> Self {
        upstream.lasts(&mut |other| {
            self.dag.order(other, self.node_ref());
            self.dag.graph.borrow_mut().labels.push((other.index, self.index, label.to_owned()));
        });
        self
    }

    /// This task comes before `downstream`, without handing it a value.
    pub fn before(self, downstream: impl Handles) -> Self {
        downstream.firsts(&mut |other| self.dag.order(self.node_ref(), other));
        self
    }

    /// This task prepares what others need: it is cleared together with them, and a teardown undoes it.
    ///
    /// ```
    /// use airlock_sdk::prelude::*;
    ///
    /// #[task]
    /// fn create_cluster() -> String { "cluster-7".into() }
    /// #[task]
    /// fn compute(cluster: &str) -> Result<()> { bail!("no luck on {cluster}") }
    /// #[task]
    /// fn delete_cluster(cluster: &str) { info!("{cluster} is gone") }
    ///
    /// #[dag]
    /// fn on_a_cluster(dag: &Dag) {
    ///     let cluster = create_cluster(dag).setup();
    ///     let work = compute(dag, cluster);
    ///     delete_cluster(dag, cluster).teardown(cluster).after(work);
    /// }
    /// # let run = airlock_sdk::testing::Host::new().run_dag::<on_a_cluster>().unwrap();
    /// # use airlock_sdk::testing::TaskState;
    /// # assert_eq!(run.state("delete_cluster"), TaskState::Success);
    /// # assert!(!run.succeeded());
    /// ```
    pub fn setup(self) -> Self {
        self.change(|node| node.role = Role::Setup)
    }

    /// This task undoes `setups`: it runs if one of them succeeded and the tasks between are finished, however they
    /// ended. Whether the run succeeds does not depend on it.
    pub fn teardown(self, setups: impl Handles) -> Self {
        let mut indexes = Vec::new();
        setups.lasts(&mut |setup| indexes.push(setup.index));
        self.change(|node| node.role = Role::Teardown { setups: indexes, on_failure_fail_dagrun: false })
            .trigger_rule(TriggerRule::AllDoneSetupSuccess)
    }

    /// The run fails if this teardown does.
    pub fn on_failure_fail_dagrun(self) -> Self {
        self.change(|node| {
            if let Role::Teardown { on_failure_fail_dagrun, .. } = &mut node.role {
                *on_failure_fail_dagrun = true;
            }
        })
    }

    fn node_ref(&self) -> NodeRef<'_> {
        NodeRef { dag: self.dag, index: self.index }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Dag {
    pub(super) fn order(&self, upstream: NodeRef<'_>, downstream: NodeRef<'_>) {
        let mut graph = self.graph.borrow_mut();
        if std::ptr::eq(upstream.dag, self) && std::ptr::eq(downstream.dag, self) {
            graph.edges.insert((downstream.index, upstream.index));
        } else {
            graph.refuse(Error::new("an edge leads from one dag to another"));
        }
    }
}

/// A task whatever its result.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct NodeRef<'a> {
    pub(super) dag: &'a Dag,
    pub(super) index: u32,
}

/// Tasks, whatever their results: a handle, a group, or several of them. What [`Handle::after`] and [`Handle::before`]
/// take.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a task of the dag",
    note = "give a handle or a group, or a tuple, an array or a `Vec` of them"
)]
pub trait Handles {
    /// Calls `visit` with each task that what comes before must come before.
    #[doc(hidden)]
    fn firsts(&self, visit: &mut dyn FnMut(NodeRef<'_>));

    /// Calls `visit` with each task that what comes after must come after.
    #[doc(hidden)]
    fn lasts(&self, visit: &mut dyn FnMut(NodeRef<'_>));
}

impl<T> Handles for Handle<'_, T> {
    fn firsts(&self, visit: &mut dyn FnMut(NodeRef<'_>)) {
        visit(self.node_ref());
    }

    fn lasts(&self, visit: &mut dyn FnMut(NodeRef<'_>)) {
        visit(self.node_ref());
    }
}

impl<H: Handles + ?Sized> Handles for &H {
    fn firsts(&self, visit: &mut dyn FnMut(NodeRef<'_>)) {
        (**self).firsts(visit);
    }

    fn lasts(&self, visit: &mut dyn FnMut(NodeRef<'_>)) {
        (**self).lasts(visit);
    }
}

impl<H: Handles> Handles for [H] {
    fn firsts(&self, visit: &mut dyn FnMut(NodeRef<'_>)) {
        for handle in self {
            handle.firsts(visit);
        }
    }

    fn lasts(&self, visit: &mut dyn FnMut(NodeRef<'_>)) {
        for handle in self {
            handle.lasts(visit);
        }
    }
}

impl<H: Handles, const N: usize> Handles for [H; N] {
    fn firsts(&self, visit: &mut dyn FnMut(NodeRef<'_>)) {
        self.as_slice().firsts(visit);
    }

    fn lasts(&self, visit: &mut dyn FnMut(NodeRef<'_>)) {
        self.as_slice().lasts(visit);
    }
}

impl<H: Handles> Handles for Vec<H> {
    fn firsts(&self, visit: &mut dyn FnMut(NodeRef<'_>)) {
        self.as_slice().firsts(visit);
    }

    fn lasts(&self, visit: &mut dyn FnMut(NodeRef<'_>)) {
        self.as_slice().lasts(visit);
    }
}

macro_rules! handles_of_tuples {
    ($($name:ident)+) => {
        #[expect(non_snake_case, reason = "the types' names serve as the values' names")]
        impl<$($name: Handles),+> Handles for ($($name,)+) {
            fn firsts(&self, visit: &mut dyn FnMut(NodeRef<'_>)) {
                let ($($name,)+) = self;
                $($name.firsts(visit);)+
            }

            fn lasts(&self, visit: &mut dyn FnMut(NodeRef<'_>)) {
                let ($($name,)+) = self;
                $($name.lasts(visit);)+
            }
        }
    };
}
handles_of_tuples!(A);
handles_of_tuples!(A B);
handles_of_tuples!(A B C);
handles_of_tuples!(A B C D);
handles_of_tuples!(A B C D E);
handles_of_tuples!(A B C D E F);
handles_of_tuples!(A B C D E F G);
handles_of_tuples!(A B C D E F G H);
