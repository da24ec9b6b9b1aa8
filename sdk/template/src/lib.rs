//! airlock-template: an Airlock pipeline.

use airlock_sdk::prelude::*;

/// What was sold in a shop.
#[data]
struct Sale {
    shop: String,
    amount: f64,
}

/// Reads the sales. (Replace it with a real source.)
#[task(retries = 3, retry_delay = "30s")]
fn extract(ctx: &Context, shop: &str) -> Result<Vec<Sale>> {
    info!("reading the sales of {shop} for run {}", ctx.run_id());
    Ok([12.5, 30.0].map(|amount| Sale { shop: shop.to_owned(), amount }).to_vec())
}

/// Sums the sales up.
#[task]
fn total(sales: &[Sale]) -> f64 {
    sales.iter().map(|sale| sale.amount).sum()
}

/// Leaves the report as an artifact.
#[task]
fn report(sales: &[Sale], total: f64) -> Result<()> {
    let text = format!("# Sales\n\n{} sales, {total:.2} in all\n", sales.len());
    artifacts::write("report.md", "text/markdown", text)?;
    Ok(())
}

/// The day's sales.
#[dag(schedule = "0 6 * * *", timezone = "UTC", start = "2026-01-01")]
fn airlock_template(dag: &Dag) {
    let shop = dag.param_with_default("shop", "Seoul".to_owned()).description("Which shop.");
    let sales = extract(dag, shop);
    let total = total(dag, sales);
    report(dag, sales, total);
}

airlock_sdk::export!(dags = [airlock_template]);

#[cfg(test)]
mod tests {
    use airlock_sdk::testing::Host;

    use super::*;

    #[test]
    fn sales_are_summed_up() {
        let run = Host::new().run_dag::<airlock_template>().unwrap();
        assert!(run.succeeded());
        assert_eq!(run.result::<f64>("total"), Some(42.5));
        assert!(run.artifact("report", "report.md").is_some());
    }

    #[test]
    fn a_task_is_a_function() {
        let host = Host::new().run_id("monday");
        let sales = host.run(|ctx| extract::run(ctx, "Busan")).unwrap();
        assert_eq!(sales[0].shop, "Busan");
        assert_eq!(host.logs()[0].message, "reading the sales of Busan for run monday");
    }
}
