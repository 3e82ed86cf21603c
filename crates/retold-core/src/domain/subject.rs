//! Subjects: the persons, or other things, whose data an event has and whose data can be forgotten.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The part of an event that is data of one subject.
///
/// It is recorded encrypted with a key of the subject, and is gone once the subject is forgotten.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(clippy::exhaustive_structs, reason = "an event must state both")]
pub struct SubjectPart {
    /// The name of the subject, for example `customer:17`.
    pub subject: Arc<str>,
    /// What of the event is its data.
    pub extent: SubjectExtent,
}

/// How much of an event is data of a subject.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::exhaustive_enums, reason = "there is no third")]
pub enum SubjectExtent {
    /// The whole content. Once the subject is forgotten, the event is read as an erased one.
    Whole,
    /// One field of the content. Once the subject is forgotten, the event is read without it, so
    /// its type declares a default.
    Field {
        /// The name of the field, as serde writes it.
        name: Cow<'static, str>,
        /// Whether serde may leave the field out.
        may_be_absent: bool,
    },
}

impl SubjectPart {
    /// The whole content is data of this subject.
    pub fn whole(subject: impl Into<Arc<str>>) -> Self {
        Self {
            subject: subject.into(),
            extent: SubjectExtent::Whole,
        }
    }

    /// The field that serde writes under this name is data of this subject, and always written.
    pub fn field(subject: impl Into<Arc<str>>, name: impl Into<Cow<'static, str>>) -> Self {
        Self {
            subject: subject.into(),
            extent: SubjectExtent::Field {
                name: name.into(),
                may_be_absent: false,
            },
        }
    }

    /// Serde may leave the field out.
    #[must_use]
    pub fn may_be_absent(mut self) -> Self {
        if let SubjectExtent::Field { may_be_absent, .. } = &mut self.extent {
            *may_be_absent = true;
        }
        self
    }
}
