//! A table of a width, printed page by page: its columns get their widths from the first page and
//! keep them, so that a log of any length and one that is followed line up.

use comfy_table::{
    CellAlignment, ColumnConstraint, ContentArrangement, Row, Table, Width, presets,
};

/// A column: what stands above it, and how it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    /// The name above it.
    pub(crate) name: &'static str,
    /// Where its cells stand.
    pub(crate) side: Side,
    /// When it is cut, if not all columns fit.
    yields: Yields,
}

/// When a column is cut to let others fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Yields {
    /// Before others: texts of any length.
    First,
    /// When nothing else helps: names.
    Later,
    /// Never: numbers and times mean nothing when cut.
    Never,
}

/// Where the cells of a column stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Texts.
    Left,
    /// Numbers.
    Right,
}

impl Column {
    /// A column of names.
    pub(crate) const fn name(name: &'static str) -> Self {
        Self {
            name,
            side: Side::Left,
            yields: Yields::Later,
        }
    }

    /// A column of texts of any length.
    pub(crate) const fn text(name: &'static str) -> Self {
        Self {
            yields: Yields::First,
            ..Self::name(name)
        }
    }

    /// A column of times.
    pub(crate) const fn time(name: &'static str) -> Self {
        Self {
            yields: Yields::Never,
            ..Self::name(name)
        }
    }

    /// A column of numbers.
    pub(crate) const fn number(name: &'static str) -> Self {
        Self {
            side: Side::Right,
            ..Self::time(name)
        }
    }
}

/// Between two columns.
const GAP: u16 = 2;
/// A column of texts is not made narrower than this, in characters, while names can yield.
const TEXT_WIDTH_MIN: u16 = 16;
/// No column is made narrower than this, in characters, however narrow the terminal.
const WIDTH_MIN: u16 = 8;
/// A column that is empty on the first page gets this width, in characters: the pages that follow
/// may have something in it.
const WIDTH_EMPTY: u16 = 16;

/// The widths that the columns have once a page was printed.
#[derive(Debug)]
pub(crate) struct Layout {
    widths: Vec<u16>,
}

/// A page as text, and whether some cells did not fit.
#[derive(Debug)]
pub(crate) struct Printed {
    /// Lines, each with its end.
    pub(crate) text: String,
    /// Whether some cells were cut.
    pub(crate) is_cut: bool,
}

/// Prints rows, with the names of the columns above the first page.
pub(crate) fn print(
    columns: &[Column],
    rows: Vec<Vec<String>>,
    width: u16,
    layout: &mut Option<Layout>,
) -> Printed {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width);
    if layout.is_none() {
        table.set_header(columns.iter().map(|column| column.name));
    }
    for cells in rows {
        let mut row = Row::from(cells);
        row.max_height(1);
        table.add_row(row);
    }
    let natural = table.column_max_content_widths();
    let layout = layout.get_or_insert_with(|| Layout {
        widths: fitted(columns, &natural, width),
    });
    for (index, column) in columns.iter().enumerate() {
        let Some(cells) = table.column_mut(index) else {
            continue;
        };
        let is_last = index + 1 == columns.len();
        let gap = if is_last { 0 } else { GAP };
        cells.set_padding((0, gap));
        let fixed = Width::Fixed(layout.widths[index] + gap);
        cells.set_constraint(ColumnConstraint::Absolute(fixed));
        cells.set_cell_alignment(match column.side {
            Side::Left => CellAlignment::Left,
            Side::Right => CellAlignment::Right,
        });
    }
    let mut text = String::new();
    for line in table.lines() {
        text.push_str(line.trim_end());
        text.push('\n');
    }
    let is_cut = natural.iter().zip(&layout.widths).any(|(it, fit)| it > fit);
    Printed { text, is_cut }
}

/// Widths that fit together, made from those the contents would like: of those that yield the widest
/// does.
fn fitted(columns: &[Column], natural: &[u16], width: u16) -> Vec<u16> {
    let mut widths: Vec<u16> = columns
        .iter()
        .enumerate()
        .map(|(index, column)| {
            let wanted = natural.get(index).copied().unwrap_or_default();
            let name = u16::try_from(column.name.len()).unwrap_or(u16::MAX);
            if wanted <= name && column.side == Side::Left {
                WIDTH_EMPTY.max(name)
            } else {
                wanted.max(name)
            }
        })
        .collect();
    let gaps = GAP * u16::try_from(columns.len().saturating_sub(1)).unwrap_or_default();
    let available = u32::from(width.saturating_sub(gaps));
    let mut surplus = widths.iter().map(|it| u32::from(*it)).sum::<u32>();
    surplus = surplus.saturating_sub(available);
    let rounds = [
        (Yields::First, TEXT_WIDTH_MIN),
        (Yields::Later, WIDTH_MIN),
        (Yields::First, WIDTH_MIN),
    ];
    for (yields, width_min) in rounds {
        while surplus > 0 {
            let yielding = widths.iter_mut().zip(columns);
            let yielding = yielding.filter(|(_, column)| column.yields == yields);
            match yielding.map(|(width, _)| width).max() {
                Some(widest) if *widest > width_min => *widest -= 1,
                _ => break,
            }
            surplus -= 1;
        }
    }
    widths
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [
        Column::number("POSITION"),
        Column::name("STREAM"),
        Column::text("PAYLOAD"),
    ];

    fn row(position: u64, stream: &str, payload: &str) -> Vec<String> {
        vec![position.to_string(), stream.into(), payload.into()]
    }

    #[test]
    fn a_page_fits_its_width_and_the_next_lines_up() {
        let mut layout = None;
        let long = r#"{"name":"Fido","tricks":["roll over","play dead"]}"#;
        let rows = vec![row(1, "dog/1", long), row(12, "🐕/22222222", "{}")];
        let first = print(&COLUMNS, rows, 50, &mut layout);
        assert_eq!(
            first.text,
            "POSITION  STREAM       PAYLOAD\n\
             \x20      1  dog/1        {\"name\":\"Fido\",\"tricks\":[\"…\n\
             \x20     12  🐕/22222222  {}\n"
        );
        assert!(first.is_cut);
        let next = print(&COLUMNS, vec![row(13, "cat/1", "{}")], 50, &mut layout);
        assert_eq!(next.text, "      13  cat/1        {}\n");
        assert!(!next.is_cut);
    }

    #[test]
    fn a_narrow_terminal_leaves_something_of_each_column() {
        let mut layout = None;
        let rows = vec![row(1, "a-stream-of-a-long-name", "a-payload-that-is-long")];
        let printed = print(&COLUMNS, rows, 10, &mut layout);
        assert_eq!(
            printed.text.lines().last(),
            Some("       1  a-strea…  a-paylo…")
        );
    }
}
