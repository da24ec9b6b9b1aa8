//! Small charts as SVG, readable without colours and in light and dark.

use std::fmt::Write;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 260.0;
const LEFT: f64 = 48.0;
const TOP: f64 = 36.0;
const BOTTOM: f64 = 28.0;

/// A bar chart; `highlight` is the bar that matters.
pub struct Bars<'a> {
    pub title: &'a str,
    pub unit: &'a str,
    /// (label, value), values from 0.
    pub values: &'a [(String, f64)],
    pub highlight: Option<usize>,
}

impl Bars<'_> {
    /// The chart as an SVG document.
    #[expect(clippy::cast_precision_loss, reason = "a chart has few bars")]
    pub fn svg(&self) -> String {
        let top = nice_ceiling(self.values.iter().map(|(_, value)| *value).fold(0.0, f64::max));
        let plot_height = HEIGHT - TOP - BOTTOM;
        let step = (WIDTH - LEFT - 8.0) / self.values.len().max(1) as f64;
        let title = escape(self.title);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-labelledby=\"t\" \
             font-family=\"system-ui, sans-serif\" font-size=\"11\">\n<title id=\"t\">{title}</title>\n\
             <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
             <text x=\"{LEFT}\" y=\"20\" font-size=\"15\" fill=\"#1b1f24\">{title}</text>\n"
        );
        for part in 0..=4 {
            let value = top * f64::from(part) / 4.0;
            let y = TOP + plot_height * (1.0 - f64::from(part) / 4.0);
            let right = WIDTH - 8.0;
            line(
                &mut svg,
                format_args!(
                    "<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"#d0d7de\"/><text x=\"{x}\" y=\"{text_y:.1}\" \
                     text-anchor=\"end\" fill=\"#57606a\">{value} {unit}</text>",
                    x = LEFT - 4.0,
                    text_y = y + 4.0,
                    unit = if part == 4 { escape(self.unit) } else { String::new() },
                ),
            );
        }
        for (index, (label, value)) in self.values.iter().enumerate() {
            let height = if top > 0.0 { value / top * plot_height } else { 0.0 };
            let x = LEFT + step * index as f64;
            let fill = if self.highlight == Some(index) { "#bc4c00" } else { "#0969da" };
            line(
                &mut svg,
                format_args!(
                    "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" fill=\"{fill}\">\
                     <title>{label}: {value:.1} {unit}</title></rect><text x=\"{middle:.1}\" y=\"{text_y}\" \
                     text-anchor=\"middle\" fill=\"#57606a\">{label}</text>",
                    y = TOP + plot_height - height,
                    width = step * 0.8,
                    label = escape(label),
                    unit = escape(self.unit),
                    middle = x + step * 0.4,
                    text_y = HEIGHT - 10.0,
                ),
            );
        }
        svg.push_str("</svg>\n");
        svg
    }
}

fn line(svg: &mut String, text: std::fmt::Arguments<'_>) {
    // A String takes all that is written to it.
    let _written = writeln!(svg, "{text}");
}

/// The next of 1, 2, 4, 8, 10, 20, 40 ... that is not below `value`.
fn nice_ceiling(value: f64) -> f64 {
    let mut power = 1.0;
    loop {
        for factor in [1.0, 2.0, 4.0, 8.0] {
            if factor * power >= value {
                return factor * power;
            }
        }
        power *= 10.0;
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chart_has_a_bar_for_each_value_and_escapes_its_texts() {
        let bars = [("1".to_owned(), 0.0), ("2".to_owned(), 12.5)];
        let svg = Bars { title: "<rain> & sun", unit: "mm", values: &bars, highlight: Some(1) }.svg();
        assert_eq!(svg.matches("<rect x=").count(), 2);
        assert_eq!(svg.matches("#bc4c00").count(), 1);
        assert!(svg.contains("&lt;rain&gt; &amp; sun"));
        assert!(svg.contains(">20 mm<"));
    }

    #[test]
    fn scales_end_at_round_numbers() {
        for (value, ceiling) in [(0.0, 1.0), (1.0, 1.0), (12.5, 20.0), (81.0, 100.0), (284.5, 400.0)] {
            assert!((nice_ceiling(value) - ceiling).abs() < f64::EPSILON, "{value}");
        }
    }
}
