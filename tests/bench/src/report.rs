//! Figures, and how they are shown.

use std::fmt;

use clap::ValueEnum;
use comfy_table::{Table, presets};
use serde::Serialize;

/// How figures are printed.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Output {
    Table,
    Json,
}

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Unit {
    #[serde(rename = "ms")]
    Milliseconds,
    #[serde(rename = "tasks/s")]
    TasksPerSecond,
    #[serde(rename = "KiB")]
    Kib,
    #[serde(rename = "MiB")]
    Mib,
    #[serde(rename = "%")]
    Percent,
    #[serde(rename = "x")]
    Times,
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Milliseconds if value < 10.0 => format!("{value:.2} ms"),
            Self::Milliseconds => format!("{value:.0} ms"),
            Self::TasksPerSecond => format!("{value:.0} tasks/s"),
            Self::Kib => format!("{value:.1} KiB"),
            Self::Mib => format!("{value:.0} MiB"),
            Self::Percent => format!("{value:.2} %"),
            Self::Times => format!("{value:.2} x"),
        }
    }
}

/// What a figure should be, in its unit.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

/// One measured figure.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    /// What was run.
    pub workload: &'static str,
    /// What of it was measured, and how.
    pub what: String,
    pub measured: f64,
    pub unit: Unit,
    pub goal: Goal,
    /// The physical limit that the goal is made from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    pub met: bool,
}

impl Figure {
    pub fn new(workload: &'static str, what: impl Into<String>, unit: Unit, measured: f64, goal: Goal) -> Self {
        let met = match goal {
            Goal::AtMost(most) => measured <= most,
            Goal::AtLeast(least) => measured >= least,
        };
        Self { workload, what: what.into(), measured, unit, goal, limit: None, met }
    }

    /// Adds the physical limit that the goal was made from.
    pub fn beside(mut self, limit: impl Into<String>) -> Self {
        self.limit = Some(limit.into());
        self
    }

    fn cells(&self) -> [String; 6] {
        let goal = match self.goal {
            Goal::AtMost(most) => format!("<= {}", self.unit.show(most)),
            Goal::AtLeast(least) => format!(">= {}", self.unit.show(least)),
        };
        [
            self.workload.to_owned(),
            self.what.clone(),
            self.unit.show(self.measured),
            goal,
            if self.met { "met" } else { "not met" }.to_owned(),
            self.limit.clone().unwrap_or_default(),
        ]
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [_, what, measured, goal, met, limit] = self.cells();
        write!(f, "{what}: {measured} ({goal}, {met}) {limit}")
    }
}

pub fn print(output: Output, figures: &[Figure]) {
    match output {
        Output::Json => match serde_json::to_string_pretty(figures) {
            Ok(text) => println!("{text}"),
            Err(error) => eprintln!("the figures are no JSON: {error}"),
        },
        Output::Table => {
            let mut table = Table::new();
            table.load_style(presets::ASCII_MARKDOWN);
            table.set_header(["workload", "figure", "measured", "goal", "", "physical limit, same run"]);
            for figure in figures {
                table.add_row(figure.cells());
            }
            println!("{table}");
        }
    }
}
