//! The test of `events.lock`: no recorded event type changes its shape without a new revision.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::schema::{EventSchemas, SchemaComparison};

/// The environment variable that makes [`check_events_lock`] write the file: `1`.
const UPDATE: &str = "UPDATE_EVENTS_LOCK";

/// Checks the events of a program against the file in which their shapes are recorded, by
/// convention `events.lock` next to the manifest, which is committed with the program.
///
/// With `UPDATE_EVENTS_LOCK=1` in the environment it writes the file instead, unless a change is
/// breaking. A relative path begins at the folder of the package that is tested. See the guide's
/// chapter on changing events for which changes are safe.
///
/// ```no_run
/// # use retold::system::System;
/// # fn shop() -> System {
/// #     System::new("shop").application("orders", |app| app).build().unwrap()
/// # }
/// #[test]
/// fn no_event_changes_its_shape_unnoticed() {
///     retold::testing::check_events_lock("events.lock", &shop().schema());
/// }
/// ```
///
/// # Panics
///
/// With a list of the changes: if one of them is breaking, or if the file does not contain all of
/// them. Also if the file cannot be read or written, or is not a lock file.
#[track_caller]
pub fn check_events_lock(path: impl AsRef<Path>, program: &EventSchemas) {
    let is_update = std::env::var(UPDATE).is_ok_and(|value| value == "1");
    if let Err(message) = check_or_write(path.as_ref(), program, is_update) {
        panic!("{message}");
    }
}

/// The check without the environment and the panic.
fn check_or_write(path: &Path, program: &EventSchemas, is_update: bool) -> Result<(), String> {
    let shown = path.display();
    let bytes = match fs::read(path) {
        Ok(bytes) => Some(bytes),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(format!("{shown} cannot be read: {error}")),
    };
    let recorded = match &bytes {
        None if !is_update => {
            return Err(format!(
                "{shown} does not exist; create it with {UPDATE}=1 and commit it"
            ));
        }
        None => EventSchemas::new(),
        Some(bytes) => {
            EventSchemas::from_lock(bytes).map_err(|error| format!("{shown}: {error}"))?
        }
    };
    let comparison = recorded.compare(program);
    if !comparison.breaking.is_empty() {
        return Err(refused(&shown.to_string(), &comparison));
    }
    if is_update {
        let text = recorded.updated(program).to_lock();
        if bytes.is_none_or(|bytes| bytes != text.as_bytes()) {
            fs::write(path, text).map_err(|error| format!("{shown} cannot be written: {error}"))?;
        }
        return Ok(());
    }
    match comparison.is_empty() {
        true => Ok(()),
        false => Err(format!(
            "{shown} does not contain the present events; write it with {UPDATE}=1 and commit it\n\
             \n{comparison}"
        )),
    }
}

fn refused(file: &str, comparison: &SchemaComparison) -> String {
    format!(
        "the events of the program contradict {file}\n\n{comparison}\nIf no event of a topic was \
         ever recorded anywhere that counts, remove the topic from {file} and write it with \
         {UPDATE}=1."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schemas(text: &str) -> EventSchemas {
        EventSchemas::from_lock(text.as_bytes()).unwrap()
    }

    fn one(schema: &str) -> EventSchemas {
        schemas(&format!(
            r#"{{"retold_events": 1, "applications": {{"dogs": {{
                "A": {{"revision": 1, "shapes": {{"1": {{"schema": {schema}}}}}}}
            }}}}}}"#
        ))
    }

    #[test]
    fn the_file_is_written_only_for_safe_changes() {
        let folder = std::env::temp_dir().join(format!("retold-lock-{}", uuid::Uuid::now_v7()));
        fs::create_dir(&folder).unwrap();
        let path = folder.join("events.lock");
        let check = |program: &EventSchemas, is_update| check_or_write(&path, program, is_update);
        let field =
            r#"{"type": "object", "properties": {"a": {"type": "string"}}, "required": []}"#;
        let wider = field.replace(r#""required": []"#, r#""title": "x", "required": []"#);
        let more = field.replace(r#"{"a""#, r#"{"b": {"type": "null"}, "a""#);
        let other = field.replace("string", "integer");

        let missing = check(&one(field), false).unwrap_err();
        assert!(missing.contains("UPDATE_EVENTS_LOCK=1"), "{missing}");
        check(&one(field), true).unwrap();
        check(&one(field), false).unwrap();
        check(&one(&wider), false).unwrap();
        let stale = check(&one(&more), false).unwrap_err();
        assert!(stale.contains("`b`: new, null, optional"), "{stale}");
        for is_update in [false, true] {
            let broken = check(&one(&other), is_update).unwrap_err();
            assert!(broken.contains("`a`: string may be recorded"), "{broken}");
            assert!(broken.contains("from(1 = …)"), "{broken}");
        }
        check(&one(field), false).unwrap();
        check(&one(&more), true).unwrap();
        check(&one(&more), false).unwrap();
        fs::write(&path, "no").unwrap();
        let bad = check(&one(field), true).unwrap_err();
        assert!(bad.contains("events.lock: it is not a lock file"), "{bad}");
        fs::remove_dir_all(&folder).unwrap();
    }
}
