//! A table that fits a terminal, printed page by page. The first page decides the widths of the
//! columns; later pages keep them, so that all rows line up.

use comfy_table::{
    CellAlignment, ColumnConstraint, ContentArrangement, Row, Table, Width, presets,
};

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Column {
    /// The name above it.
    pub(crate) name: &'static str,
    /// How its cells are aligned.
    pub(crate) side: Side,
    /// When it is narrowed, if not all columns fit.
    yields: Yields,
    /// Which end of a cell is kept, if it is cut.
    kept: KeptEnd,
}

/// Which end of a cell is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeptEnd {
    Start,
    /// Ids at the end of names distinguish them.
    End,
}

/// When a column is narrowed, so that the others fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Yields {
    /// Before others: texts of any length.
    First,
    /// After the texts: names.
    Later,
    /// Never: a cut number or time would be wrong.
    Never,
}

/// How the cells of a column are aligned.
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
            kept: KeptEnd::Start,
        }
    }

    /// A column of names that end with an id.
    pub(crate) const fn id(name: &'static str) -> Self {
        Self {
            kept: KeptEnd::End,
            ..Self::name(name)
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

/// Spaces between two columns.
const GAP: u16 = 2;
/// Width below which a column of texts is narrowed only after the names, in characters.
const TEXT_WIDTH_MIN: u16 = 20;
/// Minimum width of a column, in characters, for any terminal.
const WIDTH_MIN: u16 = 8;
/// Width of a column that is empty on the first page, in characters: later pages may fill it.
const WIDTH_EMPTY: u16 = 16;

/// The widths of the columns, decided by the first page.
#[derive(Debug)]
pub(crate) struct Layout {
    widths: Vec<u16>,
}

/// A printed page.
#[derive(Debug)]
pub(crate) struct Printed {
    /// The lines, each with a newline.
    pub(crate) text: String,
    /// Whether cells were cut.
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
    let natural = natural_widths(&rows);
    let layout = layout.get_or_insert_with(|| Layout {
        widths: fitted(columns, &natural, width),
    });
    for mut cells in rows {
        let kept = cells.iter_mut().zip(columns).zip(&layout.widths);
        for ((cell, _), width) in kept.filter(|((_, column), _)| column.kept == KeptEnd::End) {
            keep_end(cell, usize::from(*width));
        }
        let mut row = Row::from(cells);
        row.max_height(1);
        table.add_row(row);
    }
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

/// Returns the widths of the contents, before anything is cut.
fn natural_widths(rows: &[Vec<String>]) -> Vec<u16> {
    let mut table = Table::new();
    for cells in rows {
        table.add_row(cells);
    }
    table.column_max_content_widths()
}

/// Cuts the start of a cell that is wider than its column.
fn keep_end(cell: &mut String, width: usize) {
    // No character is wider than two columns of a terminal.
    let width_of = |it: char| if it.is_ascii() { 1 } else { 2 };
    if cell.chars().map(width_of).sum::<usize>() <= width {
        return;
    }
    let mut left = width.saturating_sub(1);
    let mut start = cell.len();
    for (index, character) in cell.char_indices().rev() {
        let Some(rest) = left.checked_sub(width_of(character)) else {
            break;
        };
        (left, start) = (rest, index);
    }
    cell.replace_range(..start, "…");
}

/// Narrows the columns until they fit. Of the columns that may be narrowed, the widest is.
fn fitted(columns: &[Column], natural: &[u16], width: u16) -> Vec<u16> {
    let mut widths: Vec<u16> = columns
        .iter()
        .enumerate()
        .map(|(index, column)| {
            let wanted = natural.get(index).copied().unwrap_or_default();
            let name = u16::try_from(column.name.len()).unwrap_or(u16::MAX);
            // A dash stands for nothing.
            match wanted <= 1 && column.side == Side::Left {
                true => WIDTH_EMPTY.max(name),
                false => wanted.max(name),
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
    fn pages_fit_the_width_and_line_up() {
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
    fn a_narrow_terminal_shows_a_part_of_each_column() {
        let mut layout = None;
        let rows = vec![row(1, "a-stream-of-a-long-name", "a-payload-that-is-long")];
        let printed = print(&COLUMNS, rows, 10, &mut layout);
        assert_eq!(
            printed.text.lines().last(),
            Some("       1  a-strea…  a-paylo…")
        );
    }

    /// The second column is as wide as its name, so the first needs not be cut for it.
    #[test]
    fn a_column_is_not_wider_than_its_contents_and_its_name() {
        let columns = [Column::name("LOG"), Column::name("UPSTREAM")];
        let rows = vec![vec!["a-log-with-a-name".to_owned(), "aircraft".to_owned()]];
        let printed = print(&columns, rows, 27, &mut None);
        assert_eq!(
            printed.text.lines().last(),
            Some("a-log-with-a-name  aircraft")
        );
        assert!(!printed.is_cut);
    }

    #[test]
    fn a_column_of_ids_keeps_their_ends() {
        let check = |text: &str, width, expected: &str| {
            let mut cell = text.to_owned();
            keep_end(&mut cell, width);
            assert_eq!(cell, expected);
        };
        check("Reservation/4f2c", 16, "Reservation/4f2c");
        check("Reservation/4f2c", 8, "…on/4f2c");
        check("dog/🐕🐕", 6, "…/🐕🐕");
        check("dog/🐕🐕", 5, "…🐕🐕");
        check("abc", 1, "…");
        check("abc", 0, "…");
    }
}
