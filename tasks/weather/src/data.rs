//! The measurements and what can be wrong with them.

use std::fmt;

use airlock_sdk::{
    chrono::{Datelike, NaiveDate},
    prelude::*,
};

/// The station's file. NOAA; see `data/README.md`.
const CSV: &str = include_str!("../data/seattle-weather.csv");

/// A day's measurements.
#[data]
#[derive(PartialEq)]
pub struct Day {
    pub date: NaiveDate,
    /// In mm.
    pub precipitation: f64,
    /// In °C.
    pub temp_max: f64,
    /// In °C.
    pub temp_min: f64,
    /// In m/s.
    pub wind: f64,
    /// One of [`KINDS`].
    pub weather: String,
}

/// What the station calls its days.
const KINDS: [&str; 5] = ["drizzle", "fog", "rain", "snow", "sun"];

/// A day called sunny with this much rain, in mm, contradicts itself.
const WET_SUN_MM: f64 = 5.0;

/// What is wrong with a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub what: &'static str,
    /// Whether the measurements can be used all the same.
    pub usable: bool,
}

impl Day {
    /// What is wrong with the day, if anything.
    pub fn problem(&self) -> Option<Problem> {
        let impossible = |what| Some(Problem { what, usable: false });
        if self.temp_max < self.temp_min {
            return impossible("the highest temperature is below the lowest");
        }
        if self.precipitation < 0.0 || self.wind < 0.0 {
            return impossible("precipitation or wind is below zero");
        }
        if !KINDS.contains(&self.weather.as_str()) {
            return impossible("the weather has no known name");
        }
        let wet_sun = self.weather == "sun" && self.precipitation >= WET_SUN_MM;
        wet_sun.then_some(Problem { what: "it is called sunny and has 5 mm of rain or more", usable: true })
    }
}

/// A calendar month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MonthOf {
    pub year: i32,
    pub month: u32,
}

impl MonthOf {
    pub fn of(date: NaiveDate) -> Self {
        Self { year: date.year(), month: date.month() }
    }
}

impl fmt::Display for MonthOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:02}", self.year, self.month)
    }
}

/// The days of `month` in the station's file.
pub fn days_of(month: MonthOf) -> Result<Vec<Day>> {
    days_in(CSV, month)
}

fn days_in(csv: &str, month: MonthOf) -> Result<Vec<Day>> {
    let start = format!("{}/{:02}/", month.year, month.month);
    let lines = (1..).zip(csv.lines()).filter(|(_, line)| line.starts_with(&start));
    let day = |(number, line)| read(line).with_context(|| format!("line {number} of the station's file")).fatal();
    lines.map(day).collect()
}

fn read(line: &str) -> Result<Day> {
    let fields: Vec<&str> = line.split(',').collect();
    let [date, precipitation, temp_max, temp_min, wind, weather] = fields[..] else {
        bail!("it has {} fields instead of 6", fields.len());
    };
    let number = |text: &str, what: &str| text.parse::<f64>().with_context(|| format!("{what} `{text}`"));
    Ok(Day {
        date: NaiveDate::parse_from_str(date, "%Y/%m/%d").with_context(|| format!("date `{date}`"))?,
        precipitation: number(precipitation, "precipitation")?,
        temp_max: number(temp_max, "temp_max")?,
        temp_min: number(temp_min, "temp_min")?,
        wind: number(wind, "wind")?,
        weather: weather.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_every_day_of_four_years() {
        let mut days = 0;
        for year in 2012..=2015 {
            for month in 1..=12 {
                days += days_of(MonthOf { year, month }).unwrap().len();
            }
        }
        assert_eq!(days, 1_461);
        assert_eq!(days_of(MonthOf { year: 2012, month: 2 }).unwrap().len(), 29);
        assert!(days_of(MonthOf { year: 2016, month: 1 }).unwrap().is_empty());
    }

    #[test]
    fn a_broken_line_is_named() {
        let month = MonthOf { year: 2012, month: 1 };
        let error = days_in("header\n2012/01/01,0.0,12.8,5.0,4.7,sun\n2012/01/02,wet,1,1,1,sun", month).unwrap_err();
        assert_eq!(error.to_string(), "line 3 of the station's file: precipitation `wet`: invalid float literal");
        let error = days_in("header\n2012/01/01,0.0", month).unwrap_err();
        assert_eq!(error.to_string(), "line 2 of the station's file: it has 2 fields instead of 6");
    }

    #[test]
    fn impossible_days_are_not_usable_and_contradictory_ones_are() {
        let good = read("2012/01/01,6.0,12.8,5.0,4.7,rain").unwrap();
        assert_eq!(good.problem(), None);
        let usable = |day: Day| day.problem().map(|problem| problem.usable);
        assert_eq!(usable(Day { weather: "sun".into(), ..good.clone() }), Some(true));
        assert_eq!(usable(Day { weather: "frogs".into(), ..good.clone() }), Some(false));
        assert_eq!(usable(Day { temp_max: -3.0, ..good.clone() }), Some(false));
        assert_eq!(usable(Day { wind: -1.0, ..good }), Some(false));
    }
}
