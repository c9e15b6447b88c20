//! Draws plots as SVG: bars with their names, and lines over time.

use std::fmt::Write as _;

const WIDTH: f64 = 900.0;
const MARGIN: f64 = 16.0;
const TITLE: f64 = 34.0;
const BAR: f64 = 24.0;
/// Width of the column with the names of the bars.
const NAMES: f64 = 380.0;
/// Space for the number to the right of a bar.
const NUMBERS: f64 = 110.0;
const LINES: f64 = 220.0;
/// Space to the left of lines, for the numbers of the vertical axis.
const AXIS: f64 = 70.0;
const COLOURS: [&str; 4] = ["#1769aa", "#c2571a", "#3b7d3b", "#7b4fa0"];

/// A plot in SVG: a column of panels with bars or lines.
#[derive(Default)]
pub struct Plot {
    body: String,
    height: f64,
}

pub struct Bar {
    pub name: String,
    pub value: f64,
    /// Index of the colour. Bars of the same kind have the same colour.
    pub kind: usize,
}

pub struct Line {
    pub name: &'static str,
    pub points: Vec<(f64, f64)>,
}

impl Plot {
    /// Adds a panel with bars, whose lengths are proportional to their values.
    pub fn bars(&mut self, title: &str, bars: &[Bar]) {
        let most = bars.iter().map(|bar| bar.value).filter(|value| value.is_finite()).fold(0.0, f64::max);
        self.title(title);
        for bar in bars {
            let value = if bar.value.is_finite() { bar.value } else { 0.0 };
            let length = if most > 0.0 { value / most * (WIDTH - NAMES - NUMBERS - MARGIN) } else { 0.0 };
            let middle = self.height + BAR * 0.7;
            self.text(NAMES - 8.0, middle, "end", &bar.name);
            let _ = writeln!(
                self.body,
                r#"<rect x="{NAMES}" y="{:.1}" width="{length:.1}" height="{:.1}" fill="{}"/>"#,
                self.height + BAR * 0.15,
                BAR * 0.7,
                COLOURS[bar.kind % COLOURS.len()],
            );
            self.text(NAMES + length + 6.0, middle, "start", &short(bar.value));
            self.height += BAR;
        }
        self.height += MARGIN;
    }

    /// Adds a panel with lines over time in seconds. Both axes begin at 0.
    pub fn lines(&mut self, title: &str, lines: &[Line]) {
        let finite =
            |line: &Line| line.points.iter().copied().filter(|&(x, y)| x.is_finite() && y.is_finite()).collect();
        let lines: Vec<(&str, Vec<(f64, f64)>)> = lines.iter().map(|line| (line.name, finite(line))).collect();
        let all = || lines.iter().flat_map(|(_, points)| points);
        let most = all().map(|&(_, y)| y).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
        let longest = all().map(|&(x, _)| x).fold(0.0, f64::max).max(1.0);
        self.title(title);
        let (left, width, top) = (AXIS, WIDTH - AXIS - MARGIN, self.height);
        let location =
            |&(x, y): &(f64, f64)| format!("{:.1},{:.1}", left + x / longest * width, top + LINES * (1.0 - y / most));
        for quarter in 0..=4 {
            let share = f64::from(quarter) / 4.0;
            let y = top + LINES * (1.0 - share);
            let right = left + width;
            let _ =
                writeln!(self.body, r##"<line x1="{left}" y1="{y:.1}" x2="{right:.1}" y2="{y:.1}" stroke="#ddd"/>"##);
            self.text(left - 8.0, y + 4.0, "end", &short(most * share));
            self.text(left + width * share, top + LINES + 18.0, "middle", &format!("{} s", short(longest * share)));
        }
        for (kind, (name, points)) in lines.iter().enumerate() {
            let colour = COLOURS[kind % COLOURS.len()];
            let points: Vec<String> = points.iter().map(location).collect();
            let _ = writeln!(
                self.body,
                r#"<polyline fill="none" stroke="{colour}" stroke-width="1.8" points="{}"/>"#,
                points.join(" "),
            );
            let right = left + width - 130.0 * f64::from(u32::try_from(lines.len() - 1 - kind).unwrap_or_default());
            let _ = writeln!(
                self.body,
                r#"<text x="{right:.1}" y="{:.1}" text-anchor="end" fill="{colour}">{}</text>"#,
                top - 8.0,
                escaped(name),
            );
        }
        self.height += LINES + 18.0 + 2.0 * MARGIN;
    }

    pub fn finish(self) -> String {
        let height = self.height + MARGIN;
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height:.0}\" \
             font-family=\"sans-serif\" font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{}</svg>\n",
            self.body,
        )
    }

    fn title(&mut self, title: &str) {
        self.height += TITLE;
        let _ = writeln!(
            self.body,
            r#"<text x="{MARGIN}" y="{:.1}" font-weight="bold">{}</text>"#,
            self.height - 10.0,
            escaped(title),
        );
    }

    fn text(&mut self, x: f64, y: f64, anchor: &str, text: &str) {
        let _ = writeln!(self.body, r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{}</text>"#, escaped(text));
    }
}

/// Formats a number with at most three significant digits, or as an integer if it is 1000 or more.
fn short(value: f64) -> String {
    match value {
        value if !value.is_finite() => "?".to_owned(),
        value if value >= 1000.0 => {
            let digits = format!("{value:.0}");
            let (head, tail) = digits.split_at(digits.len() - 3);
            format!("{head}\u{2009}{tail}")
        }
        value if value >= 100.0 || value == 0.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::{Bar, Line, Plot, short};

    #[test]
    fn bars_and_lines_are_drawn() {
        let mut plot = Plot::default();
        let bar = |name: &str, value| Bar { name: name.to_owned(), value, kind: 0 };
        plot.bars("Sends & receipts", &[bar("a < b", 10.0), bar("half", 5.0), bar("none", f64::NAN)]);
        plot.lines("p99", &[Line { name: "ms", points: vec![(0.0, 1.0), (1.0, f64::NAN), (2.0, 2.0)] }]);
        let svg = plot.finish();
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        assert!(svg.contains("Sends &amp; receipts") && svg.contains("a &lt; b"));
        // The bar of the largest value has the full width, the bar of half this value has half the width, and the bar
        // of NaN has the width 0.
        for width in ["394.0", "197.0", "0.0"] {
            assert!(svg.contains(&format!("width=\"{width}\"")), "{svg}");
        }
        assert!(!svg.contains("NaN"), "{svg}");
        let opened = svg.matches("<text").count();
        assert_eq!(opened, svg.matches("</text>").count());
    }

    #[test]
    fn empty_panels_are_drawn() {
        let mut plot = Plot::default();
        plot.bars("", &[]);
        plot.lines("", &[Line { name: "", points: Vec::new() }]);
        assert!(!plot.finish().contains("NaN"));
    }

    #[test]
    fn numbers_are_rounded_to_three_digits() {
        let shown = [0.0, 0.123, 12.34, 123.4, 12_345.6, f64::NAN].map(short);
        assert_eq!(shown, ["0", "0.12", "12.3", "123", "12\u{2009}346", "?"]);
    }
}
