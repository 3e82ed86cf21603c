//! Splits a payload into the data of subjects and the rest.

use super::PartKeys;
use crate::domain::SubjectExtent;
use crate::protection::parts::{FieldCodec, PARTS_MAX, PartKind};
use crate::protection::subject_keys::SubjectKey;
use crate::recording::Invalid;

/// A part before it is encrypted.
pub(super) struct PlainPart<'k> {
    pub(super) kind: PartKind,
    pub(super) keys: Vec<&'k SubjectKey>,
    pub(super) plain: Vec<u8>,
}

/// Splits a payload into the data of subjects and the rest.
pub(super) fn split<'k>(
    codec: &str,
    topic: &str,
    payload: &[u8],
    parts: &'k [PartKeys],
) -> Result<(Vec<PlainPart<'k>>, Vec<u8>), Invalid> {
    let invalid = |what: String| Invalid::new(format!("the event {topic:?} {what}"));
    if parts.len() > PARTS_MAX {
        return Err(invalid(format!(
            "has more than {PARTS_MAX} parts of subjects"
        )));
    }
    let of_fields = |it: &&PartKeys| matches!(it.part.extent, SubjectExtent::Field { .. });
    let fields: Vec<&PartKeys> = parts.iter().filter(of_fields).collect();
    if fields.is_empty() {
        let part = PlainPart {
            kind: PartKind::Whole,
            keys: parts.iter().map(|it| &it.key).collect(),
            plain: payload.to_vec(),
        };
        return Ok((vec![part], Vec::new()));
    }
    if fields.len() < parts.len() {
        return Err(invalid(
            "is data of one subject as a whole, and has fields of another".into(),
        ));
    }
    // One part for each subject.
    let mut keys: Vec<&SubjectKey> = Vec::new();
    let mut places: Vec<(&str, usize)> = Vec::new();
    for it in &fields {
        let SubjectExtent::Field { name, .. } = &it.part.extent else {
            continue;
        };
        let known = keys.iter().position(|key| key.id == it.key.id);
        let index = known.unwrap_or_else(|| {
            keys.push(&it.key);
            keys.len() - 1
        });
        if places.iter().any(|(there, _)| there == name) {
            return Err(invalid(format!("has the field {name:?} of two subjects")));
        }
        places.push((name, index + 1));
    }
    let field_codec = FieldCodec::named(codec)?;
    let place = |name: &str| {
        let found = places.iter().find(|(there, _)| *there == name);
        found.map_or(0, |(_, place)| *place)
    };
    let no_fields = || invalid("has fields of subjects, but its content is not fields".into());
    let split = field_codec.split(payload, keys.len() + 1, place);
    let mut split = split.ok_or_else(no_fields)?;
    check_present(field_codec, topic, payload, &fields)?;
    let rest = split.remove(0);
    let parts = keys.into_iter().zip(split).map(|(key, plain)| PlainPart {
        kind: PartKind::Fields,
        keys: vec![key],
        plain,
    });
    Ok((parts.collect(), rest))
}

/// Checks that every field of a subject is in the payload under the expected name: under another it
/// would be stored where forgetting does not reach it.
fn check_present(
    codec: FieldCodec,
    topic: &str,
    payload: &[u8],
    fields: &[&PartKeys],
) -> Result<(), Invalid> {
    let names = codec.names(payload).unwrap_or_default();
    for it in fields {
        if let SubjectExtent::Field {
            name,
            may_be_absent: false,
        } = &it.part.extent
            && !names.iter().any(|there| there == name)
        {
            return Err(Invalid::new(format!(
                "the event {topic:?} has data of the subject {:?} in a field that serde should \
                 write as {name:?}, and it is not there; is `Serialize` written by hand?",
                it.part.subject
            )));
        }
    }
    Ok(())
}
