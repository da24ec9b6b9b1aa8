use airlock_sdk::prelude::*;

#[task]
fn choose() -> Branch {
    Branch::none()
}

fn main() {}
