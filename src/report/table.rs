//! Columns that line up.

/// Rows of cells, printed left-aligned with two blanks between columns and no blanks at line ends.
#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<Vec<String>>,
    indent: usize,
}

impl Table {
    /// An empty table whose lines start with `indent` blanks.
    pub fn new(indent: usize) -> Self {
        Self {
            rows: Vec::new(),
            indent,
        }
    }

    /// Adds a row; rows may differ in length.
    pub fn row<S: Into<String>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// The lines, each ending in a newline.
    pub fn render(&self) -> String {
        self.render_within(usize::MAX)
    }

    /// The same; a last cell that would run over `limit` characters goes on in its column on the next line.
    pub fn render_within(&self, limit: usize) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let widths: Vec<usize> = (0..columns)
            .map(|c| {
                let cells = self.rows.iter().filter_map(|row| row.get(c));
                cells.map(|cell| width(cell)).max().unwrap_or(0)
            })
            .collect();
        let mut text = String::new();
        for row in &self.rows {
            let mut line = " ".repeat(self.indent);
            for (c, (cell, &column)) in row.iter().zip(&widths).enumerate() {
                if c + 1 == columns && c > 0 {
                    let start = width(&line);
                    let room = limit.saturating_sub(start).max(20);
                    let parts = broken(cell, room);
                    line.push_str(&parts.join(&format!("\n{}", " ".repeat(start))));
                } else {
                    line.push_str(cell);
                    line.push_str(&" ".repeat(column - width(cell) + 2));
                }
            }
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

/// A cell's words in lines of at most `room` characters, but at least one word each.
fn broken(cell: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in cell.split(' ') {
        let last = lines.len() - 1;
        if lines[last].is_empty() {
            lines[last].push_str(word);
        } else if width(&lines[last]) + 1 + width(word) <= room {
            lines[last].push(' ');
            lines[last].push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// Characters, not bytes; no cell here holds wide ones.
fn width(cell: &str) -> usize {
    cell.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_last_cell_goes_on_below() {
        let mut table = Table::new(0);
        table.row(["a", "one two three four five six"]);
        assert_eq!(
            table.render_within(20),
            "a  one two three four\n   five six\n"
        );
    }

    #[test]
    fn columns_line_up() {
        let mut table = Table::new(1);
        table.row(["a", "29 → 11"]);
        table.row(["long", "x", ""]);
        assert_eq!(table.render(), " a     29 → 11\n long  x\n");
    }
}
