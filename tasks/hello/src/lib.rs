//! The smallest useful dag: three tasks hand a greeting on.

use airlock_sdk::prelude::*;

/// Makes a greeting for `name`.
#[task]
fn make_greeting(name: &str) -> Result<String> {
    ensure!(!name.trim().is_empty(), "there is nobody to greet: the param `name` is empty");
    Ok(format!("hello, {}", name.trim()))
}

/// Gets the greeting ready to be said: a capital at its front and a mark at its end.
#[task]
fn get_ready(greeting: &str) -> String {
    let mut letters = greeting.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters).chain(['!']).collect()
}

/// Says the greeting, in the log.
#[task]
fn say(ctx: &Context, greeting: String) -> String {
    info!("{greeting}");
    println!("said in run {} by try {}", ctx.run_id(), ctx.try_number());
    greeting
}

/// Greets someone.
///
/// Trigger it with the param `name`.
#[dag(tags = ["example"])]
fn hello(dag: &Dag) {
    let name = dag.param_with_default("name", "world".to_owned()).description("Whom to greet.");
    let greeting = make_greeting(dag, name);
    say(dag, get_ready(dag, greeting));
}

airlock_sdk::export!(dags = [hello]);

#[cfg(test)]
mod tests {
    use airlock_sdk::testing::{Host, TaskState};

    use super::*;

    #[test]
    fn the_world_is_greeted_by_default() {
        let host = Host::new();
        let run = host.run_dag::<hello>().unwrap();
        assert_eq!(run.result::<String>("say").unwrap(), "Hello, world!");
        assert_eq!(host.logs()[0].message, "Hello, world!");
    }

    #[test]
    fn whoever_triggers_it_says_whom_to_greet() {
        let run = Host::new().param("name", " ada ").run_dag::<hello>().unwrap();
        assert_eq!(run.result::<String>("say").unwrap(), "Hello, ada!");
    }

    #[test]
    fn nobody_is_not_greeted() {
        let run = Host::new().param("name", " ").run_dag::<hello>().unwrap();
        assert_eq!(run.state("make_greeting"), TaskState::Failed);
        assert_eq!(run.state("say"), TaskState::UpstreamFailed);
        assert!(run.message("make_greeting").unwrap().contains("nobody to greet"));
    }
}
