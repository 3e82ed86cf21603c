//! Names and texts as SQL writes them, whatever their characters.

use retold_core::recording::Invalid;

use crate::options::SCHEMA_NAME_SIZE_MAX;

/// Checks that PostgreSQL keeps a schema of this name as it is, and for whom asks for it.
///
/// # Errors
///
/// `Invalid` with what is wrong.
pub(crate) fn check_schema(name: &str) -> Result<(), Invalid> {
    if name.is_empty() || name.len() > SCHEMA_NAME_SIZE_MAX {
        return Err(Invalid::new(format!(
            "the schema {name:?} has {} bytes; 1 to {SCHEMA_NAME_SIZE_MAX} are allowed",
            name.len()
        )));
    }
    if name.chars().any(char::is_control) || name.starts_with("pg_") {
        return Err(Invalid::new(format!(
            "the schema {name:?} has a name that PostgreSQL keeps for itself or cannot store: control \
             characters, or pg_ at its beginning"
        )));
    }
    Ok(())
}

/// A name.
pub(crate) fn quote(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text, however the server takes backslashes.
pub(crate) fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    match text.contains('\\') {
        true => format!(" E'{}'", quoted.replace('\\', "\\\\")),
        false => format!("'{quoted}'"),
    }
}

/// A word of a command for a shell.
pub(crate) fn shell_word(text: &str) -> String {
    let is_plain = |it: char| it.is_ascii_alphanumeric() || it == '_';
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// A text whose placeholders are filled in at once, so that nothing is looked for in what was filled in.
pub(crate) fn fill(text: &str, values: &[(&str, &str)]) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((start, placeholder, value)) = values
        .iter()
        .filter_map(|(placeholder, value)| Some((rest.find(placeholder)?, *placeholder, *value)))
        .min_by_key(|(start, ..)| *start)
    {
        filled.push_str(&rest[..start]);
        filled.push_str(value);
        rest = &rest[start + placeholder.len()..];
    }
    filled + rest
}

/// A mark for the two ends of a body that may have the text in it.
pub(crate) fn dollar_mark(text: &str) -> String {
    let marks = (0_u32..).map(|number| format!("$retold_{number}$"));
    let mut free = marks.filter(|mark| !text.contains(mark));
    free.next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_end_where_they_end() {
        assert_eq!(quote("a\"b"), "\"a\"\"b\"");
        assert_eq!(literal("a'b"), "'a''b'");
        assert_eq!(literal("a\\'b"), " E'a\\\\''b'");
        assert_eq!(shell_word("a'$$b"), "'a'\\''$$b'");
        assert_eq!(shell_word("a_1"), "a_1");
        assert_eq!(dollar_mark("a$$b"), "$retold_0$");
        assert_eq!(dollar_mark("$retold_0$retold_1$"), "$retold_2$");
    }

    #[test]
    fn what_is_filled_in_is_no_placeholder() {
        let values = [("<a>", "<b>"), ("<b>", "<a>")];
        assert_eq!(fill("x<a>y<b>z", &values), "x<b>y<a>z");
        assert_eq!(fill("", &values), "");
    }

    #[test]
    fn names_that_cannot_be_kept_are_refused() {
        for fine in ["a", "A b", "a$$b", "ä\"'\\", &"x".repeat(63)] {
            assert!(check_schema(fine).is_ok(), "{fine}");
        }
        for bad in ["", "a\nb", "a\0", "pg_x", &"x".repeat(64)] {
            assert!(check_schema(bad).is_err(), "{bad}");
        }
    }
}
