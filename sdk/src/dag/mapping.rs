//! Mapped tasks: one instance for each element of a list that is known when the run gets there.

use std::{fmt, marker::PhantomData};

use serde::Serialize;

use super::{Dag, Given, Graph, Handle, Input, IntoInput, Source, last, same_dag};
use crate::{
    error::{Error, Result},
    value::{self, Value},
};

/// A type that is a JSON list: what [`Handle::each`] takes apart.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a list: there is no element to have a task instance for",
    note = "a task is mapped over a `Vec`, an array, a `VecDeque` or a set"
)]
pub trait List {
    /// The type of its elements.
    type Item;
}

impl<T> List for Vec<T> {
    type Item = T;
}
impl<T, const N: usize> List for [T; N] {
    type Item = T;
}
impl<T> List for std::collections::VecDeque<T> {
    type Item = T;
}
impl<T> List for std::collections::BTreeSet<T> {
    type Item = T;
}
impl<T, S> List for std::collections::HashSet<T, S> {
    type Item = T;
}

/// A list that something is expanded over.
#[derive(Debug, Clone)]
pub(crate) enum ListSource {
    Literal(Value),
    /// What this task returns.
    Output(u32),
    /// What all instances of this mapped task return.
    All(u32),
}

/// What a task or group has an instance for each of.
#[derive(Debug, Clone, Default)]
pub(crate) struct Expand {
    /// Each with the name by which lists find it while the dag is built.
    axes: Vec<(u32, Vec<(u32, ListSource)>)>,
}

impl Expand {
    /// The axes, which multiply, each of lists that go along with each other.
    pub fn axes(&self) -> impl Iterator<Item = impl Iterator<Item = &ListSource>> {
        self.axes.iter().map(|(_, lists)| lists.iter().map(|(_, source)| source))
    }

    pub fn lists(&self) -> impl Iterator<Item = &ListSource> {
        self.axes().flatten()
    }

    /// Where the list is, which is added if it is not there.
    fn place(&mut self, index: u32, list: &EachList) -> Source {
        let axis = self.axes.iter().position(|(axis, _)| *axis == list.axis).unwrap_or_else(|| {
            self.axes.push((list.axis, Vec::new()));
            self.axes.len() - 1
        });
        let lists = &mut self.axes[axis].1;
        let place = lists.iter().position(|(known, _)| *known == index).unwrap_or_else(|| {
            lists.push((index, list.source.clone()));
            lists.len() - 1
        });
        Source::Element { axis, place }
    }
}

/// A list that was taken apart with `each()`.
#[derive(Debug)]
pub(crate) struct EachList {
    source: ListSource,
    /// Lists of one axis go along with each other.
    axis: u32,
    /// The mapped group whose instances have its elements.
    group: Option<u32>,
}

impl Graph {
    /// What an input that takes `each` element of a list gives to the node that is being added.
    pub(super) fn element(&mut self, index: u32, expand: &mut Option<Expand>) -> Result<Source> {
        let list = &self.lists[index as usize];
        match list.group {
            None => Ok(expand.get_or_insert_default().place(index, list)),
            Some(group) if self.mapped_group() == Some(group) => {
                let of_group = self.groups[group as usize].expand.get_or_insert_default();
                Ok(of_group.place(index, list))
            }
            Some(group) => Err(Error::new(format!(
                "the element of mapped group `{}` can't be used outside of it",
                self.groups[group as usize].name
            ))),
        }
    }

    /// Whether `node` has several instances, as seen from `looker`.
    pub(super) fn is_mapped_for(&self, node: u32, looker: Option<u32>) -> bool {
        let node = &self.nodes[node as usize];
        let group = |node: &super::Node| self.mapped_around(node.group);
        let looker = looker.and_then(|looker| group(&self.nodes[looker as usize]));
        node.expand.is_some() || group(node).is_some_and(|group| looker != Some(group))
    }

    /// Handles of mapped tasks are used as lists, and others are not.
    pub(super) fn check_mapping(&self) -> Result<()> {
        let wrong = |upstream: u32, all: bool| {
            let task_id = &self.nodes[upstream as usize].task_id;
            Error::new(if all {
                format!("task `{task_id}` is not mapped: pass its handle on without `.all()`")
            } else {
                format!(
                    "task `{task_id}` is mapped: pass on `.all()` of its handle (a list of all results), or \
                     `.all().each()`"
                )
            })
        };
        for (index, node) in (0..).zip(&self.nodes) {
            for (_, source) in &node.inputs {
                match source {
                    Source::Output(of) if self.is_mapped_for(*of, Some(index)) => return Err(wrong(*of, false)),
                    Source::All(of) if !self.is_mapped_for(*of, Some(index)) => return Err(wrong(*of, true)),
                    _ => {}
                }
            }
        }
        let expands = self.nodes.iter().map(|node| &node.expand).chain(self.groups.iter().map(|group| &group.expand));
        for list in expands.flatten().flat_map(Expand::lists) {
            match list {
                ListSource::Output(of) if self.is_mapped_for(*of, None) => return Err(wrong(*of, false)),
                ListSource::All(of) if !self.is_mapped_for(*of, None) => return Err(wrong(*of, true)),
                _ => {}
            }
        }
        Ok(())
    }
}

/// For each instance of a task, another element of a list: what makes a task mapped.
///
/// ```
/// use airlock_sdk::prelude::*;
///
/// #[task]
/// fn shops() -> Vec<String> { vec!["Seoul".into(), "Busan".into()] }
/// #[task]
/// fn sold(shop: &str, year: u32) -> usize { shop.len() * year as usize }
/// #[task]
/// fn total(sold: Vec<usize>) -> usize { sold.iter().sum() }
///
/// #[dag]
/// fn sales(dag: &Dag) {
///     let sold = sold(dag, shops(dag).each(), 2); // an instance for each shop
///     total(dag, sold.all()); // one, which takes the results of all
/// }
/// # let run = airlock_sdk::testing::Host::new().run_dag::<sales>().unwrap();
/// # assert_eq!(run.results::<usize>("sold"), [Some(10), Some(10)]);
/// # assert_eq!(run.result::<usize>("total").unwrap(), 20);
/// ```
///
/// Two inputs that each take elements multiply: there is an instance for each pair. With [`Each::zip`] the lists go
/// along with each other. An empty list leaves nothing to do: the task is skipped.
pub struct Each<'dag, T> {
    dag: &'dag Dag,
    list: u32,
    item: PhantomData<fn() -> T>,
}

impl<T> Clone for Each<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Each<'_, T> {}

impl<T> fmt::Debug for Each<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Each({})", self.list)
    }
}

impl<'dag, T> Each<'dag, T> {
    fn new(dag: &'dag Dag, source: ListSource) -> Self {
        let mut graph = dag.graph.borrow_mut();
        let axis = u32::try_from(graph.lists.len()).unwrap_or(u32::MAX);
        graph.lists.push(EachList { source, axis, group: None });
        Self { dag, list: last(&graph.lists), item: PhantomData }
    }

    /// Lets the elements of `other` go along with these: the first with the first, as far as the shorter list goes.
    ///
    /// ```
    /// # use airlock_sdk::prelude::*;
    /// # #[task] fn greet(name: &str, times: u32) -> String { format!("{name}!").repeat(times as usize) }
    /// #[dag]
    /// fn greetings(dag: &Dag) {
    ///     let names = dag.list(["Ada", "Grace"].map(String::from));
    ///     let (name, times) = names.each().zip(dag.list([1, 2]).each());
    ///     greet(dag, name, times);
    /// }
    /// # let run = airlock_sdk::testing::Host::new().run_dag::<greetings>().unwrap();
    /// # assert_eq!(run.results::<String>("greet"), [Some("Ada!".to_owned()), Some("Grace!Grace!".to_owned())]);
    /// ```
    #[must_use]
    pub fn zip<U>(self, other: Each<'dag, U>) -> (Self, Each<'dag, U>) {
        let mut graph = self.dag.graph.borrow_mut();
        if same_dag(self.dag, other.dag).is_ok() {
            let (this, that) = (graph.lists[self.list as usize].axis, graph.lists[other.list as usize].axis);
            graph.lists.iter_mut().filter(|list| list.axis == that).for_each(|list| list.axis = this);
        } else {
            graph.refuse(Error::new("lists of two dags can't go along with each other"));
        }
        drop(graph);
        (self, other)
    }
}

/// A list that is written in the dag, for [`Literal::each`].
#[derive(Debug)]
pub struct Literal<'dag, T> {
    dag: &'dag Dag,
    value: Value,
    item: PhantomData<fn() -> T>,
}

impl<'dag, T> Literal<'dag, T> {
    /// A task that takes this has an instance for each element.
    #[must_use]
    pub fn each(self) -> Each<'dag, T> {
        Each::new(self.dag, ListSource::Literal(self.value))
    }
}

impl Dag {
    /// A list for mapped tasks that is known when the dag is written.
    #[expect(clippy::needless_pass_by_value, reason = "a literal is written where it is given")]
    pub fn list<L: List + Serialize + 'static>(&self, list: L) -> Literal<'_, L::Item> {
        let value = value::encode(&list).unwrap_or_else(|error| {
            self.graph.borrow_mut().refuse(error.context("a list that tasks are mapped over"));
            Value { media_type: value::JSON.into(), bytes: b"[]".to_vec() }
        });
        Literal { dag: self, value, item: PhantomData }
    }
}

impl<'dag, T> Handle<'dag, T> {
    /// A task that takes this has an instance for each element of this task's result. See [`Each`].
    #[must_use]
    pub fn each(self) -> Each<'dag, T::Item>
    where
        T: List,
    {
        Each::new(self.dag, ListSource::Output(self.index))
    }

    /// The results of all instances of this mapped task, ordered by map_index; instances without one are left out.
    #[must_use]
    pub fn all(self) -> All<'dag, T> {
        All { dag: self.dag, index: self.index, item: PhantomData }
    }
}

/// The results of all instances of a mapped task: an input of type `Vec<T>`.
pub struct All<'dag, T> {
    dag: &'dag Dag,
    index: u32,
    item: PhantomData<fn() -> T>,
}

impl<T> Clone for All<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for All<'_, T> {}

impl<T> fmt::Debug for All<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "All({})", self.index)
    }
}

impl<'dag, T> All<'dag, T> {
    /// A task that takes this has an instance for each of the results.
    #[must_use]
    pub fn each(self) -> Each<'dag, T> {
        Each::new(self.dag, ListSource::All(self.index))
    }
}

impl<T> IntoInput<Vec<T>> for All<'_, T> {
    fn into_input(self, dag: &Dag) -> Input {
        Input(same_dag(dag, self.dag).map(|()| Given::Source(Source::All(self.index))))
    }
}

impl<T> IntoInput<Option<Vec<T>>> for All<'_, T> {
    fn into_input(self, dag: &Dag) -> Input {
        <Self as IntoInput<Vec<T>>>::into_input(self, dag)
    }
}

impl<T> IntoInput<T> for Each<'_, T> {
    fn into_input(self, dag: &Dag) -> Input {
        Input(same_dag(dag, self.dag).map(|()| Given::Each(self.list)))
    }
}

impl<T> IntoInput<Option<T>> for Each<'_, T> {
    fn into_input(self, dag: &Dag) -> Input {
        <Self as IntoInput<T>>::into_input(self, dag)
    }
}

/// What a mapped group is expanded over: an [`Each`], or a tuple of them.
#[diagnostic::on_unimplemented(
    message = "a group can't be mapped over `{Self}`",
    label = "not the elements of a list",
    note = "a group is mapped over `.each()` of a list, of `.all()`, or a tuple of several"
)]
pub trait Elements {
    #[doc(hidden)]
    fn join(&self, dag: &Dag, group: u32) -> Result<()>;
}

impl<T> Elements for Each<'_, T> {
    fn join(&self, dag: &Dag, group: u32) -> Result<()> {
        same_dag(dag, self.dag)?;
        let graph = &mut *dag.graph.borrow_mut();
        let list = &mut graph.lists[self.list as usize];
        if list.group.is_some() {
            return Err(Error::new("the elements are those of another mapped group already; call `each()` again"));
        }
        list.group = Some(group);
        graph.groups[group as usize].expand.get_or_insert_default().place(self.list, list);
        Ok(())
    }
}

macro_rules! elements_of_tuples {
    ($($name:ident)+) => {
        impl<$($name: Elements),+> Elements for ($($name,)+) {
            fn join(&self, dag: &Dag, group: u32) -> Result<()> {
                #[expect(non_snake_case, reason = "the types' names serve as the values' names")]
                let ($($name,)+) = self;
                $($name.join(dag, group)?;)+
                Ok(())
            }
        }
    };
}
elements_of_tuples!(A B);
elements_of_tuples!(A B C);
elements_of_tuples!(A B C D);
