//! What does not fit, and where: from the content, and from the definition that contains the place.

use super::shape::definition_of;

/// Maximum number of mismatches that are reported.
const MISMATCHES_MAX: usize = 40;

/// The reference to the whole schema.
pub(super) const WHOLE: &str = "#";

/// A reason why a value may not be accepted.
#[derive(Clone, Debug)]
pub(super) struct Mismatch {
    pub(super) path: String,
    pub(super) what: String,
    /// The same place, from the definition that contains it.
    pub(super) within: String,
}

impl Mismatch {
    pub(super) fn to_text(&self) -> String {
        match self.path.as_str() {
            "" => format!("the content: {}", self.what),
            path => format!("`{path}`: {}", self.what),
        }
    }
}

/// Removes mismatches that differ only in where the same definition is used; the shortest path
/// stays.
pub(super) fn in_one_place_each(found: Vec<Mismatch>) -> Vec<Mismatch> {
    let mut kept: Vec<Mismatch> = Vec::new();
    for one in found {
        let is_same = |it: &Mismatch| it.within == one.within && it.what == one.what;
        match kept.iter().position(is_same) {
            Some(same) if kept[same].path.len() > one.path.len() => kept[same] = one,
            Some(_) => {}
            None if kept.len() < MISMATCHES_MAX => kept.push(one),
            None => {}
        }
    }
    kept
}

/// A place in a content.
#[derive(Clone, Default)]
pub(super) struct Place {
    pub(super) path: String,
    /// The same place, from the definition that contains it.
    pub(super) within: String,
}

impl Place {
    pub(super) fn field(&self, name: &str) -> Self {
        Self {
            path: joined(&self.path, name),
            within: joined(&self.within, name),
        }
    }

    /// Returns the place of a definition, from which the places in it are counted.
    pub(super) fn of_definition(reference: &str) -> Self {
        let within = match reference {
            WHOLE => String::new(),
            reference => format!("{}::", definition_of(reference)),
        };
        Self {
            path: String::new(),
            within,
        }
    }

    pub(super) fn mismatch(&self, what: impl Into<String>) -> Mismatch {
        Mismatch {
            path: self.path.clone(),
            what: what.into(),
            within: self.within.clone(),
        }
    }

    pub(super) fn too_complex(&self) -> Mismatch {
        self.mismatch("it is too complex to be compared")
    }
}

/// Returns a path that continues another one.
pub(super) fn joined(path: &str, rest: &str) -> String {
    match (path, rest) {
        ("", rest) => rest.to_owned(),
        (path, "") => path.to_owned(),
        (path, rest) if rest.starts_with('[') || path.ends_with("::") => format!("{path}{rest}"),
        (path, rest) => format!("{path}.{rest}"),
    }
}
