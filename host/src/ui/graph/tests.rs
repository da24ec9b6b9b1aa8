use super::*;
use crate::{
    model::{
        dag::Catalog,
        spec::{EdgeLabelSpec, EntrySpec, GroupSpec},
    },
    ui::{
        fold::fold,
        tests::{dag, node},
    },
};

/// `a -> g.b -> g.inner.c -> d -> g.e`, and `g.x` that nothing waits for.
fn nested() -> DagSpec {
    let tasks: [(&str, &[&str], Option<&str>); 6] = [
        ("a", &[], None),
        ("g.b", &["a"], Some("g")),
        ("g.inner.c", &["g.b"], Some("g.inner")),
        ("d", &["g.inner.c"], None),
        ("g.e", &["d"], Some("g")),
        ("g.x", &[], Some("g")),
    ];
    let nodes = tasks.map(|(task, upstream, group)| {
        let mut node = node(task, upstream);
        node.group = group.map(str::to_owned);
        node
    });
    let mut spec = dag("nested", None, nodes.into());
    let group = |group: &str, parent: Option<&str>| GroupSpec {
        group_id: group.into(),
        parent: parent.map(str::to_owned),
        doc: Some(format!("What {group} is about.")),
        expand: None,
    };
    spec.groups = vec![group("g", None), group("g.inner", Some("g"))];
    let (upstream, downstream) = ("a".into(), "g.b".into());
    spec.labels = vec![EdgeLabelSpec { upstream, downstream, label: "if all is well".into() }];
    spec
}

fn drawn(closed: [bool; 2]) -> Value {
    let spec = nested();
    let input =
        |nth| crate::model::spec::ParameterSpec { name: format!("in{nth}"), schema: "{}".into(), required: false };
    let entry = EntrySpec { inputs: (0..3).map(input).collect(), ..EntrySpec::new("work") };
    let dag = Dag::from_spec(&spec, &Catalog::new(&[entry])).unwrap();
    let edges: Vec<_> = dag
        .nodes
        .iter()
        .enumerate()
        .flat_map(|(from, node)| node.downstream.iter().map(move |to| (from, *to as usize)))
        .collect();
    let folded = fold(&(0..dag.nodes.len()).collect::<Vec<_>>(), &edges, 50);
    Graph::new(&dag, &spec, &folded, false, closed.into()).json()
}

fn numbers(value: &Value) -> Vec<i64> {
    serde_json::from_value(value.clone()).unwrap()
}

fn is_inside(inner: &[i64], outer: &[i64]) -> bool {
    inner[0] > outer[0]
        && inner[1] > outer[1]
        && inner[0] + inner[2] < outer[0] + outer[2]
        && inner[1] + inner[3] < outer[1] + outer[3]
}

#[test]
fn what_is_in_a_group_stands_in_its_frame_and_the_rest_beside_it() {
    let graph = drawn([false, false]);
    let frame = |group: usize| numbers(&graph["groups"][group]["at"]);
    assert!(is_inside(&frame(1), &frame(0)), "{graph}");
    assert_eq!(
        (&graph["groups"][1]["name"], &graph["groups"][1]["doc"]),
        (&json!("inner"), &json!("What g.inner is about."))
    );
    for place in graph["boxes"].as_array().unwrap() {
        let place = numbers(place);
        let task = graph["tasks"][usize::try_from(place[4]).unwrap()].as_str().unwrap();
        assert_eq!(is_inside(&place, &frame(0)), task.starts_with("g."), "{task} of {graph}");
        assert_eq!(is_inside(&place, &frame(1)), task.starts_with("g.inner."), "{task} of {graph}");
    }
    assert_eq!(graph["labels"][0][4], "if all is well");
    let (width, height) = (graph["width"].as_i64().unwrap(), graph["height"].as_i64().unwrap());
    assert!(is_inside(&frame(0), &[0, 0, width, height]));
}

#[test]
fn a_closed_group_is_one_box_with_all_its_tasks() {
    let graph = drawn([false, true]);
    assert_eq!(graph["groups"][1]["at"], Value::Null);
    assert_eq!(
        numbers(&graph["boxes"][usize::try_from(graph["groups"][1]["box"].as_u64().unwrap()).unwrap()]).len(),
        5
    );
    // `d` waits for the group and the group for `d`: one of the edges leads back.
    let graph = drawn([true, false]);
    let closed = usize::try_from(graph["groups"][0]["box"].as_u64().unwrap()).unwrap();
    assert_eq!(numbers(&graph["boxes"][closed]).len() - 4, 4);
    assert_eq!((&graph["groups"][1]["at"], &graph["groups"][1]["box"]), (&Value::Null, &Value::Null));
    assert_eq!(graph["boxes"].as_array().unwrap().len(), 3);
    let back = |edge: &Value| edge.as_array().unwrap().len() == 6 && edge[2].as_i64() > edge[4].as_i64();
    assert_eq!(graph["edges"].as_array().unwrap().iter().filter(|edge| back(edge)).count(), 1, "{graph}");
}
