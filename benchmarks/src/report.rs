//! What was found: sections of rows of figures.
//!
//! A figure has one name for both ways of telling it: `entries_per_s` is a key in JSON and a column `entries per s`.
//! A table shows the median with the smallest and largest; JSON has each round's figure too.
//!
//! A table is printed when it is measured, so that what fails after minutes loses nothing. JSON is one object, printed at
//! the end, whatever that is.
//!
//! Not here: what the figures mean. A section's notes say what was done.

use std::borrow::Cow;
use std::fmt::Write;
use std::process::{Command, Stdio};

use serde_json::{Map, Value, json};

use crate::measure::{Outcome, Spread};
use crate::place::Place;
use crate::system::{self, Busy};

/// With more of the machine's time than this gone elsewhere, figures are told with a warning. The kernel's own threads,
/// which write back and journal for us, take some of it on a quiet machine too.
const DISTURBED: f64 = 0.25;

/// All of a run.
pub struct Report<'a> {
    /// Which one ran.
    pub subcommand: &'static str,
    /// With small sizes.
    pub quick: bool,
    /// Told as one JSON object instead of tables.
    pub as_json: bool,
    /// Where its files were.
    pub place: &'a Place,
    /// What it has found so far.
    pub sections: Vec<Section>,
}

/// What belongs together.
pub struct Section {
    /// Its key in JSON.
    pub key: String,
    /// What it is about.
    pub title: String,
    /// What was done, and what to keep in mind.
    pub notes: Vec<String>,
    /// Rows with the same figures, as far as they have them.
    pub rows: Vec<Row>,
    /// The part of the processors' time that others had meanwhile, the kernel's own threads and a host's included.
    pub elsewhere: f64,
}

/// The figures of one contestant.
pub struct Row {
    /// Whose.
    pub name: String,
    /// In the order in which they are shown.
    pub figures: Vec<(Cow<'static, str>, Figure)>,
}

/// A number, or one for each round.
pub enum Figure {
    /// Found once.
    Once(f64),
    /// Found in each round.
    Each(Spread),
}

impl From<f64> for Figure {
    fn from(number: f64) -> Figure {
        Figure::Once(number)
    }
}

impl From<Spread> for Figure {
    fn from(spread: Spread) -> Figure {
        Figure::Each(spread)
    }
}

impl Row {
    /// Without figures yet.
    pub fn new(name: impl Into<String>) -> Row {
        Row { name: name.into(), figures: Vec::new() }
    }

    /// The row with one more figure.
    pub fn with(mut self, key: &'static str, figure: impl Into<Figure>) -> Row {
        self.figures.push((key.into(), figure.into()));
        self
    }

    /// The row with one more figure, if there is one.
    pub fn with_some(self, key: &'static str, figure: Option<impl Into<Figure>>) -> Row {
        match figure {
            Some(figure) => self.with(key, figure),
            None => self,
        }
    }

    fn text_of(&self, key: &str) -> String {
        let figure = self.figures.iter().find(|(at, _)| *at == key);
        figure.map_or(String::new(), |(_, figure)| figure.text())
    }
}

impl Figure {
    /// The number, or the median of the rounds.
    #[cfg(test)]
    pub fn middle(&self) -> f64 {
        match self {
            Figure::Once(number) => *number,
            Figure::Each(spread) => spread.median(),
        }
    }

    fn text(&self) -> String {
        match self {
            Figure::Once(number) => shown(*number),
            Figure::Each(spread) => {
                let [median, min, max] = [spread.median(), spread.min(), spread.max()].map(shown);
                if min == max { median } else { format!("{median} ({min}..{max})") }
            }
        }
    }

    fn json(&self) -> Value {
        match self {
            Figure::Once(number) => json!(number),
            Figure::Each(spread) => json!({
                "median": spread.median(),
                "min": spread.min(),
                "max": spread.max(),
                "samples": spread.samples(),
            }),
        }
    }
}

/// Three digits that count, or all before the point, in groups.
fn shown(number: f64) -> String {
    let decimals = match number.abs() {
        size if size >= 100.0 || size.fract() == 0.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    let text = format!("{number:.decimals$}");
    let (whole, rest) = text.split_once('.').map_or((text.as_str(), None), |(a, b)| (a, Some(b)));
    let mut grouped = String::new();
    for (at, digit) in whole.chars().enumerate() {
        let left = whole.len() - at;
        if at > 0 && left % 3 == 0 && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    rest.map_or(grouped.clone(), |rest| format!("{grouped}.{rest}"))
}

impl Report<'_> {
    /// Says what is going to be measured, and where.
    pub fn begin(&self) {
        if !self.as_json {
            self.about().iter().for_each(|line| println!("{line}"));
        }
    }

    /// Measures, and tells what was found and how busy the machine was with other things meanwhile.
    pub fn measure(&mut self, measure: impl FnOnce() -> Outcome<Vec<Section>>) -> Outcome<()> {
        let before = Busy::until_now()?;
        let mut sections = measure()?;
        let elsewhere = before.elsewhere_since()?;
        for section in &mut sections {
            section.elsewhere = elsewhere;
            self.tell(section);
        }
        self.sections.extend(sections);
        Ok(())
    }

    /// Measures in a process of its own, this program with these arguments: there no memory is left over from earlier.
    pub fn measure_apart(&mut self, arguments: &[String]) -> Outcome<()> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("--json").arg("--dir").arg(self.place.dir()).stderr(Stdio::inherit());
        if self.quick {
            command.arg("--quick");
        }
        let output = command.args(arguments).output()?;
        let report: Value = serde_json::from_slice(&output.stdout)
            .map_err(|error| format!("{} printed no report: {error}", arguments.join(" ")))?;
        let sections = report["sections"].as_object().into_iter().flatten();
        for (key, section) in sections {
            let section =
                Section::of_json(key, section).ok_or("reported a section of another kind")?;
            self.tell(&section);
            self.sections.push(section);
        }
        if output.status.success() {
            Ok(())
        } else {
            Err(format!("{} failed", arguments.join(" ")).into())
        }
    }

    fn tell(&self, section: &Section) {
        if self.as_json {
            eprintln!("measured: {}", section.key);
        } else {
            let mut text = String::new();
            section.put_text(&mut text);
            print!("{text}");
        }
    }

    /// Tells what is told at the end.
    pub fn end(&self) {
        if self.as_json {
            println!("{:#}", self.json());
        }
    }

    fn json(&self) -> Value {
        let sections: Map<String, Value> =
            self.sections.iter().map(|section| (section.key.clone(), section.json())).collect();
        json!({
            "subcommand": self.subcommand,
            "quick": self.quick,
            "cores": system::cores(),
            "kernel": system::kernel(),
            "file_system": self.place.file_system,
            "device": self.place.device,
            "sections": sections,
        })
    }

    fn about(&self) -> Vec<String> {
        let Place { file_system, device, .. } = self.place;
        let mut lines = vec![format!(
            "{}: {} cores, Linux {}, {file_system} on {device}",
            self.subcommand,
            system::cores(),
            system::kernel(),
        )];
        lines.push("Each figure: median (smallest..largest) of the rounds. ours_divided_by_it: speeds, so above 1 ours is faster.".into());
        lines.extend(self.place.warning());
        if self.quick {
            lines.push("quick: small sizes, the figures mean little".into());
        }
        lines
    }
}

impl Section {
    fn json(&self) -> Value {
        let rows: Vec<Value> = self.rows.iter().map(Row::json).collect();
        let Section { title, notes, elsewhere, .. } = self;
        json!({ "title": title, "notes": notes, "elsewhere": elsewhere, "rows": rows })
    }

    fn of_json(key: &str, json: &Value) -> Option<Section> {
        let notes = json["notes"].as_array()?.iter().map(|note| note.as_str().map(Into::into));
        Some(Section {
            key: key.into(),
            title: json["title"].as_str()?.into(),
            notes: notes.collect::<Option<_>>()?,
            rows: json["rows"].as_array()?.iter().map(Row::of_json).collect::<Option<_>>()?,
            elsewhere: json["elsewhere"].as_f64()?,
        })
    }

    fn put_text(&self, out: &mut String) {
        let _ = writeln!(out, "\n## {}", self.title);
        for note in &self.notes {
            let _ = writeln!(out, "{note}");
        }
        let percent = self.elsewhere * 100.0;
        let warning = if self.elsewhere > DISTURBED { ": DISTURBED" } else { "" };
        let _ = writeln!(out, "{percent:.0} % of the processors' time went elsewhere{warning}");
        let keys = self.keys();
        let mut lines = vec![vec![String::new()]];
        lines[0].extend(keys.iter().map(|key| key.replace('_', " ")));
        for row in &self.rows {
            let figures = keys.iter().map(|key| row.text_of(key));
            lines.push(std::iter::once(row.name.clone()).chain(figures).collect());
        }
        put_aligned(out, &lines);
    }

    /// Of all rows; one that a row alone has stands behind what is before it in that row.
    fn keys(&self) -> Vec<&str> {
        let mut keys: Vec<&str> = Vec::new();
        for row in &self.rows {
            let mut behind = 0;
            for (key, _) in &row.figures {
                match keys.iter().position(|there| *there == key) {
                    Some(at) => behind = at + 1,
                    None => {
                        keys.insert(behind, key);
                        behind += 1;
                    }
                }
            }
        }
        keys
    }
}

impl Row {
    fn json(&self) -> Value {
        let mut object = Map::new();
        object.insert("name".into(), json!(self.name));
        object.extend(self.figures.iter().map(|(key, figure)| (key.to_string(), figure.json())));
        Value::Object(object)
    }
}

impl Row {
    fn of_json(json: &Value) -> Option<Row> {
        let mut row = Row::new(json["name"].as_str()?);
        for (key, figure) in json.as_object()?.iter().filter(|(key, _)| *key != "name") {
            row.figures.push((key.clone().into(), Figure::of_json(figure)?));
        }
        Some(row)
    }
}

impl Figure {
    fn of_json(json: &Value) -> Option<Figure> {
        match json.as_f64() {
            Some(number) => Some(Figure::Once(number)),
            None => {
                let samples = json["samples"].as_array()?.iter().map(Value::as_f64);
                Some(Figure::Each(Spread::of(samples.collect::<Option<Vec<f64>>>()?)))
            }
        }
    }
}

/// A Markdown table: the first line is its head, the first column its names.
fn put_aligned(out: &mut String, lines: &[Vec<String>]) {
    let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..lines[0].len()).map(width).collect();
    for (number, line) in lines.iter().enumerate() {
        let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            if column == 0 { format!("{cell:width$}") } else { format!("{cell:>width$}") }
        });
        let _ = writeln!(out, "| {} |", cells.collect::<Vec<_>>().join(" | "));
        if number == 0 {
            let rules = widths.iter().enumerate().map(|(column, &width)| {
                if column == 0 {
                    "-".repeat(width + 2)
                } else {
                    format!("{}:", "-".repeat(width + 1))
                }
            });
            let _ = writeln!(out, "|{}|", rules.collect::<Vec<_>>().join("|"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_shows_three_digits_that_count() {
        let all = [1234567.8, 999.4, 12.34, 0.125, -1234.0, 3.0].map(shown);
        assert_eq!(all, ["1,234,568", "999", "12.3", "0.12", "-1,234", "3"]);
    }

    #[test]
    fn a_figure_that_a_row_lacks_leaves_its_cell_empty() {
        let rows = vec![
            Row::new("ours").with("a_b", 1.25).with("d", Spread::of([7.0, 7.0])),
            Row::new("raw").with("a_b", 20.5).with("c", Spread::of([1.5, 3.0, 2.0])).with("d", 8.0),
        ];
        let section =
            Section { key: "x".into(), title: "X".into(), notes: vec![], rows, elsewhere: 0.0 };
        let mut text = String::new();
        section.put_text(&mut text);
        let expected = "\n## X
0 % of the processors' time went elsewhere
|      |  a b |           c | d |
|------|-----:|------------:|--:|
| ours | 1.25 |             | 7 |
| raw  | 20.5 | 2 (1.50..3) | 8 |
";
        assert_eq!(text, expected);
        assert_eq!(section.json()["rows"][1]["c"]["samples"][1], json!(3.0));
        let again = Section::of_json("x", &section.json()).unwrap();
        let mut text_again = String::new();
        again.put_text(&mut text_again);
        assert_eq!((again.key.as_str(), text_again), ("x", text));
    }
}
