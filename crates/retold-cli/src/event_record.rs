//! Prints events.

use retold::recording::{Encoding, Metadata, Origin, StoredEvent};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::output::Record;
use crate::table::Column;

/// An event to print. The JSON object has everything that is stored; bytes that are not JSON are
/// printed as hexadecimal digits, so that nothing is lost.
#[derive(Debug)]
pub(crate) struct EventRecord<'a>(pub(crate) &'a StoredEvent);

impl Record for EventRecord<'_> {
    const COLUMNS: &'static [Column] = &[
        Column::number("POSITION"),
        Column::time("ID"),
        Column::time("TIME"),
        Column::id("STREAM"),
        Column::number("VERSION"),
        Column::id("TOPIC"),
        Column::text("TAGS"),
        Column::text("PAYLOAD"),
    ];

    const COLUMNS_BRIEF: &'static [Column] = &[
        Column::number("POSITION"),
        Column::time("TIME"),
        Column::id("STREAM OR TAGS"),
        Column::id("TOPIC"),
        Column::text("PAYLOAD"),
    ];

    fn cells(&self) -> Vec<String> {
        let event = self.0;
        vec![
            event.position().to_string(),
            event.id().to_string(),
            event.time().to_string(),
            event.stream().unwrap_or("-").to_owned(),
            event
                .version()
                .map_or_else(|| "-".into(), |it| it.to_string()),
            event.topic().to_owned(),
            tags_text(event),
            payload_text(event),
        ]
    }

    fn cells_brief(&self) -> Vec<String> {
        let event = self.0;
        let tags = tags_text(event);
        let stream_or_tags = match event.stream() {
            Some(stream) => stream.to_owned(),
            None if tags.is_empty() => "-".into(),
            None => tags,
        };
        vec![
            event.position().to_string(),
            short_time(&event.time().to_string()),
            stream_or_tags,
            event.topic().to_owned(),
            payload_text(event),
        ]
    }
}

fn tags_text(event: &StoredEvent) -> String {
    event.tags().collect::<Vec<_>>().join(" ")
}

/// Shortens an RFC 3339 time to the month, day, hour, minute and second, as in `01-31 05:17:00`.
fn short_time(text: &str) -> String {
    let short = text.split_once('T').and_then(|(date, time)| {
        let day = date.get(date.len().checked_sub("01-31".len())?..)?;
        Some(format!("{day} {}", time.get(.."05:17:00".len())?))
    });
    short.unwrap_or_else(|| text.to_owned())
}

/// Returns the payload on one line if it is JSON, otherwise a description of it.
fn payload_text(event: &StoredEvent) -> String {
    match Payload::of(event) {
        Payload::Erased => "(erased)".into(),
        Payload::Json(json) => json.get().to_owned(),
        Payload::Bytes(bytes) => format!("({}, {} bytes)", event.encoding_text(), bytes.len()),
    }
}

enum Payload<'a> {
    Erased,
    /// On one line.
    Json(Box<RawValue>),
    Bytes(&'a [u8]),
}

impl<'a> Payload<'a> {
    fn of(event: &'a StoredEvent) -> Self {
        let Some(bytes) = event.payload() else {
            return Self::Erased;
        };
        let is_json = event.encoding_text() == Encoding::JSON.as_str();
        match std::str::from_utf8(bytes)
            .ok()
            .filter(|_| is_json)
            .and_then(one_line)
        {
            Some(json) => Self::Json(json),
            None => Self::Bytes(bytes),
        }
    }
}

/// Removes the white space of JSON, which may have newlines. Returns none if the text is not JSON.
/// Numbers and the order of names stay as they are.
pub(crate) fn one_line(json: &str) -> Option<Box<RawValue>> {
    let mut compact = String::with_capacity(json.len());
    let mut is_text = false;
    let mut is_escaped = false;
    for character in json.chars() {
        if !is_text && character.is_ascii_whitespace() {
            continue;
        }
        if character == '"' && !is_escaped {
            is_text = !is_text;
        }
        is_escaped = is_text && character == '\\' && !is_escaped;
        compact.push(character);
    }
    RawValue::from_string(compact).ok()
}

impl Serialize for EventRecord<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let event = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("position", &event.position())?;
        map.serialize_entry("id", &event.id())?;
        map.serialize_entry("stream", &event.stream())?;
        map.serialize_entry("version", &event.version())?;
        map.serialize_entry("topic", event.topic())?;
        map.serialize_entry("revision", &event.revision())?;
        map.serialize_entry("tags", &event.tags().collect::<Vec<_>>())?;
        map.serialize_entry("time", &event.time())?;
        map.serialize_entry("recorded_at", &event.recorded_at())?;
        let place = event.place();
        map.serialize_entry("append_index", &place.index)?;
        map.serialize_entry("append_count", &place.count)?;
        match event.origin() {
            Ok(origin) => map.serialize_entry::<_, Origin>("origin", &origin)?,
            Err(_) => map.serialize_entry("origin_text", event.origin_text())?,
        }
        match event.metadata() {
            Ok(metadata) => map.serialize_entry::<_, Metadata>("metadata", &metadata)?,
            Err(_) => map.serialize_entry("metadata_hex", &hex(event.metadata_bytes()))?,
        }
        map.serialize_entry("encoding", event.encoding_text())?;
        match Payload::of(event) {
            Payload::Erased => map.serialize_entry("erased", &true)?,
            Payload::Json(json) => map.serialize_entry("payload", &json)?,
            Payload::Bytes(bytes) => map.serialize_entry("payload_hex", &hex(bytes))?,
        }
        map.end()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_printed_on_one_line() {
        let check = |json: &str, expected: Option<&str>| {
            assert_eq!(one_line(json).as_deref().map(RawValue::get), expected);
        };
        check(
            "{ \"b\": 1.50,\n\t\"a\": \"x \\\" y\" }",
            Some(r#"{"b":1.50,"a":"x \" y"}"#),
        );
        check(r#"["\\", " "]"#, Some(r#"["\\"," "]"#));
        check("12345678901234567890123", Some("12345678901234567890123"));
        check("{", None);
        check("", None);
    }

    #[test]
    fn bytes_are_printed_as_hexadecimal_digits() {
        assert_eq!(hex(&[0, 15, 255]), "000fff");
    }

    #[test]
    fn a_short_time_has_no_year_and_no_fraction() {
        assert_eq!(short_time("2013-01-31T05:17:00Z"), "01-31 05:17:00");
        assert_eq!(short_time("2013-01-31T05:17:00.123456Z"), "01-31 05:17:00");
        assert_eq!(short_time("+12013-01-31T05:17:00Z"), "01-31 05:17:00");
        assert_eq!(short_time("never"), "never");
    }
}
