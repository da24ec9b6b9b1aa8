//! Four years of Seattle's weather, month by month.
//!
//! Each run is about one month, its data interval. It reads the month's days, checks them, works the figures out and
//! draws a report; December's run sums the year up from the figures that the months' runs pushed.

mod chart;
mod data;

use airlock_sdk::{
    chrono::{DateTime, Datelike, NaiveDate, NaiveTime, Utc},
    prelude::*,
};

use chart::Bars;
use data::{Day, MonthOf};

/// A month's figures.
#[data]
#[derive(PartialEq)]
struct Figures {
    /// As `2012-01`.
    month: String,
    days: usize,
    /// In mm.
    precipitation: f64,
    wet_days: usize,
    wettest_day: NaiveDate,
    /// Mean of the days' highest temperatures, in °C.
    temp_max: f64,
    /// Mean of the days' lowest temperatures, in °C.
    temp_min: f64,
    /// The strongest wind, in m/s.
    wind: f64,
}

/// A year's figures.
#[data]
#[derive(PartialEq)]
struct Summary {
    year: i32,
    months: usize,
    /// In mm.
    precipitation: f64,
    /// As `2012-11`.
    wettest_month: String,
    /// In mm.
    wettest_month_precipitation: f64,
}

fn month_of(ctx: &Context) -> Result<MonthOf> {
    let interval = ctx.data_interval().ok_or_else(|| {
        Fatal::new("the run has no data interval; trigger it with a logical date in the month that it is about")
    })?;
    Ok(MonthOf::of(interval.start.date_naive()))
}

/// Reads the days of the run's month from the station's file.
#[task(retries = 2, retry_delay = "10s")]
fn extract(ctx: &Context) -> Result<Vec<Day>> {
    let month = month_of(ctx)?;
    let days = data::days_of(month)?;
    if days.is_empty() {
        return Err(Skip::because(format!("the station has no days of {month}")).into());
    }
    info!("{month}: {} days", days.len());
    Ok(days)
}

/// Checks the days: goes on to `accept` if all are in order, else to `report_bad_days`.
#[task(branch)]
fn check(days: &[Day]) -> Branch {
    let bad = days.iter().filter(|day| day.problem().is_some()).count();
    if bad == 0 {
        return Branch::to(accept::ID);
    }
    warn!("{bad} of {} days have something wrong", days.len());
    Branch::to(report_bad_days::ID)
}

/// Hands the days on as they are.
#[task]
fn accept(days: Vec<Day>) -> Vec<Day> {
    days
}

/// Lists the days that have something wrong in `bad-days.csv` and hands on those that can be used.
#[task]
fn report_bad_days(days: Vec<Day>) -> Result<Vec<Day>> {
    let mut list = vec!["date,problem,used\n".to_owned()];
    let mut usable = Vec::new();
    for day in days {
        let problem = day.problem();
        if let Some(problem) = &problem {
            let used = if problem.usable { "yes" } else { "no" };
            warn!("{}: {}; used: {used}", day.date, problem.what);
            list.push(format!("{},{},{used}\n", day.date, problem.what));
        }
        if problem.is_none_or(|problem| problem.usable) {
            usable.push(day);
        }
    }
    artifacts::write("bad-days.csv", "text/csv", list.concat())?;
    Ok(usable)
}

/// Works the month's figures out, of the days that one of the two branches handed on.
#[task(trigger_rule = "none_failed_min_one_success")]
fn figures(ctx: &Context, accepted: Option<Vec<Day>>, usable: Option<Vec<Day>>) -> Result<Figures> {
    let days = accepted.or(usable).unwrap_or_default();
    let wettest = days.iter().max_by(|one, other| one.precipitation.total_cmp(&other.precipitation));
    let Some(wettest) = wettest else { return Err(Skip::because("no day of the month can be used").into()) };
    #[expect(clippy::cast_precision_loss, reason = "a month has at most 31 days")]
    let count = days.len() as f64;
    let mean = |value: fn(&Day) -> f64| tenths(days.iter().map(value).sum::<f64>() / count);
    let month = Figures {
        month: month_of(ctx)?.to_string(),
        days: days.len(),
        precipitation: tenths(days.iter().map(|day| day.precipitation).sum()),
        wet_days: days.iter().filter(|day| day.precipitation > 0.0).count(),
        wettest_day: wettest.date,
        temp_max: mean(|day| day.temp_max),
        temp_min: mean(|day| day.temp_min),
        wind: days.iter().map(|day| day.wind).fold(0.0, f64::max),
    };
    info!("{}: {:.1} mm on {} of {} days", month.month, month.precipitation, month.wet_days, month.days);
    xcom::push("precipitation", &month.precipitation)?;
    Ok(month)
}

/// Draws the month's rain and says how it compares with the months before.
#[task]
fn report(ctx: &Context, days: &[Day], month: &Figures) -> Result<String> {
    let bars: Vec<_> = days.iter().map(|day| (day.date.day().to_string(), day.precipitation)).collect();
    let highlight = days.iter().position(|day| day.date == month.wettest_day);
    let title = format!("Rain in Seattle, {}: {:.1} mm", month.month, month.precipitation);
    artifacts::write("rain.svg", "image/svg+xml", Bars { title: &title, unit: "mm", values: &bars, highlight }.svg())?;

    let before = months(ctx, DateTime::<Utc>::UNIX_EPOCH)?;
    let wettest = wettest(before.iter().chain([month])).unwrap_or(month);
    let verdict = format!("wettest month so far: {} with {:.1} mm", wettest.month, wettest.precipitation);
    info!("{verdict}");
    let text = format!(
        "# Seattle, {}\n\n- rain: {:.1} mm on {} of {} days, most on {}\n- mean temperatures: {:.1} to {:.1} °C\n\
         - strongest wind: {:.1} m/s\n- {verdict}\n",
        month.month,
        month.precipitation,
        month.wet_days,
        month.days,
        month.wettest_day,
        month.temp_min,
        month.temp_max,
        month.wind,
    );
    artifacts::write("report.md", "text/markdown; charset=utf-8", text)?;
    Ok(verdict)
}

/// Goes on to `yearly_summary` in December's run only.
#[task(branch)]
fn year_is_over(ctx: &Context) -> Result<Branch> {
    let december = month_of(ctx)?.month == 12;
    Ok(if december { Branch::to(yearly_summary::ID) } else { Branch::none() })
}

/// Sums the year up from the figures that its months' runs pushed.
#[task]
fn yearly_summary(ctx: &Context, december: Figures) -> Result<Summary> {
    let year = month_of(ctx)?.year;
    let new_year = NaiveDate::from_ymd_opt(year, 1, 1).context("the year's first day")?;
    let mut months = months(ctx, new_year.and_time(NaiveTime::MIN).and_utc())?;
    months.push(december);
    let wettest = wettest(&months).context("a year has a month")?.clone();
    let summary = Summary {
        year,
        months: months.len(),
        precipitation: tenths(months.iter().map(|month| month.precipitation).sum()),
        wettest_month: wettest.month.clone(),
        wettest_month_precipitation: wettest.precipitation,
    };
    let verdict = format!("wettest month of {year}: {} with {:.1} mm", wettest.month, wettest.precipitation);
    info!("{verdict}, of {:.1} mm in {} months", summary.precipitation, summary.months);

    let bars: Vec<_> = months.iter().map(|month| (month.month.clone(), month.precipitation)).collect();
    let highlight = months.iter().position(|month| month.month == wettest.month);
    let title = format!("Rain in Seattle, {verdict}");
    artifacts::write("year.svg", "image/svg+xml", Bars { title: &title, unit: "mm", values: &bars, highlight }.svg())?;
    Ok(summary)
}

/// The figures of the months from `since` to the one before the run's.
fn months(ctx: &Context, since: DateTime<Utc>) -> Result<Vec<Figures>> {
    let until = ctx.data_interval().map_or(since, |interval| interval.start);
    let runs = xcom::pull_runs(figures::ID, xcom::RETURN_VALUE, since..until)?;
    Ok(runs.into_iter().map(|run| run.value).collect())
}

fn wettest<'a>(months: impl IntoIterator<Item = &'a Figures>) -> Option<&'a Figures> {
    months.into_iter().max_by(|one, other| one.precipitation.total_cmp(&other.precipitation))
}

/// Sums of tenths, without what adding them up in binary leaves behind.
fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// Seattle's weather, a month a run.
///
/// The runs of 2012 to 2015 are made up for, in order. Look at `report` for a month's chart and at `yearly_summary` of
/// a December for the year's wettest month.
#[dag(
    schedule = "@monthly",
    data_interval = true,
    start = "2012-01-01",
    end = "2015-12-01",
    catchup = true,
    max_active_runs = 1,
    tags = ["example", "reports"]
)]
fn weather(dag: &Dag) {
    let days = extract(dag);
    let check = check(dag, days);
    let accepted = accept(dag, days).after(check);
    let usable = report_bad_days(dag, days).after(check);
    let month = figures(dag, accepted, usable);
    report(dag, days, month);
    let over = year_is_over(dag).after(month);
    yearly_summary(dag, month).after(over);
}

airlock_sdk::export!(dags = [weather]);

#[cfg(test)]
mod tests {
    use airlock_sdk::{
        chrono::{Months, TimeZone},
        testing::{DagRun, Host, TaskState},
    };

    use super::*;

    fn run_month(host: Host, year: i32, month: u32) -> (Host, DagRun) {
        let start = Utc.with_ymd_and_hms(year, month, 1, 0, 0, 0).unwrap();
        let host = host.data_interval(start, start + Months::new(1));
        let run = host.run_dag::<weather>().unwrap();
        (host, run)
    }

    #[test]
    fn a_month_in_order_is_accepted_and_reported() {
        let (_, run) = run_month(Host::new(), 2012, 11);
        assert!(run.succeeded());
        let month: Figures = run.result("figures").unwrap();
        assert_eq!((month.month.as_str(), month.days, month.precipitation), ("2012-11", 30, 210.5));
        assert_eq!(run.xcom::<f64>("figures", "precipitation"), Some(210.5));
        assert_eq!(run.state("accept"), TaskState::Success);
        assert_eq!(run.state("report_bad_days"), TaskState::Skipped);
        assert_eq!(run.state("yearly_summary"), TaskState::Skipped);
        let chart = run.artifact("report", "rain.svg").unwrap();
        assert_eq!(chart.media_type, "image/svg+xml");
        assert_eq!(String::from_utf8_lossy(&chart.bytes).matches("<rect x=").count(), 30);
    }

    #[test]
    fn a_month_with_bad_days_goes_the_other_way_and_is_reported_too() {
        let (_, run) = run_month(Host::new(), 2013, 4);
        assert!(run.succeeded());
        assert_eq!(run.state("accept"), TaskState::Skipped);
        assert_eq!(run.state("report_bad_days"), TaskState::Success);
        let list = run.artifact("report_bad_days", "bad-days.csv").unwrap();
        assert!(String::from_utf8_lossy(&list.bytes).contains("2013-04-10,it is called sunny"));
        assert_eq!(run.result::<Figures>("figures").unwrap().days, 30);
    }

    #[test]
    fn the_wettest_months_of_four_years_are_found() {
        let mut host = Host::new();
        let mut found = Vec::new();
        let mut last = String::new();
        for year in 2012..=2015 {
            for month in 1..=12 {
                let run;
                (host, run) = run_month(host, year, month);
                assert!(run.succeeded(), "{year}-{month}");
                last = run.result("report").unwrap();
                found.extend(run.result::<Summary>("yearly_summary"));
            }
        }
        let wettest: Vec<_> = found.iter().map(|year| (year.months, year.wettest_month.as_str())).collect();
        assert_eq!(wettest, [(12, "2012-11"), (12, "2013-09"), (12, "2014-03"), (12, "2015-12")]);
        assert_eq!(found[0].precipitation.to_string(), "1226");
        assert_eq!(last, "wettest month so far: 2015-12 with 284.5 mm");
        assert!(
            host.logs().iter().any(|line| line.message.starts_with("wettest month of 2015: 2015-12 with 284.5 mm"))
        );
    }

    #[test]
    fn a_month_outside_the_file_is_skipped_and_a_run_without_one_fails() {
        let (_, run) = run_month(Host::new(), 2016, 1);
        assert_eq!(run.state("extract"), TaskState::Skipped);
        assert_eq!(run.state("figures"), TaskState::Skipped);
        let run = Host::new().run_dag::<weather>().unwrap();
        assert_eq!((run.state("extract"), run.tries("extract")), (TaskState::Failed, 1));
        assert!(run.message("extract").unwrap().contains("no data interval"));
    }
}
