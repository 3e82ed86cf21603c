//! The parameters of the functions `append_group` and `append_amending` and their types, as
//! `schema/types.sql` and `schema/amendment_types.sql` describe them.
//!
//! Rows are sent as composite types, whose fields are compared by name and order. Parameters are
//! passed by name. So neither their order nor their number is stated anywhere else.

use std::sync::LazyLock;

use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::composite::composite;

composite! {
    struct NewEventRow<'a> is "new_event" {
        id_key: i32,
        topic_key: i32,
        place_index: i32,
        place_count: i32,
        revision: i32,
        time: i64,
        payload_checksum: i64,
        content_checksum: i64,
        stream_key: Option<i32>,
        stream_ordinal: Option<i32>,
        encoding: &'a str,
        origin: String,
        tags: Vec<&'a str>,
        packed_tags: Vec<u8>,
        metadata: &'a [u8],
        payload: Option<&'a [u8]>,
    }
}

composite! {
    struct QueryItemRow<'a> is "query_item" {
        streams: Vec<&'a str>,
        topics: Vec<&'a str>,
        tags: Vec<&'a str>,
    }
}

composite! {
    struct ConditionRow<'a> is "condition" {
        stream_key: Option<i32>,
        version: Option<i64>,
        event: Option<Uuid>,
        added: i32,
        after: Option<i64>,
        items: Option<Vec<QueryItemRow<'a>>>,
        candidates: Vec<i32>,
        topic_count: Option<i64>,
    }
}

composite! {
    struct ProcessedRangeRow<'a> is "processed_range" {
        pair_key: i32,
        is_first: bool,
        follower: &'a str,
        upstream: Uuid,
        after: Option<i64>,
        to_position: i64,
        to_id: Uuid,
        policy_version: i32,
        added: i32,
        checksum: i64,
        to_checksum: i64,
    }
}

composite! {
    struct AmendmentRow<'a> is "amendment" {
        event: Option<Uuid>,
        stream: Option<&'a str>,
        after: Option<i64>,
        until: Option<i64>,
        replaces: bool,
        with_tags: bool,
        with_metadata: bool,
    }
}

composite! {
    struct AmendedEventRow<'a> is "amended_event" {
        position: i64,
        old_payload_checksum: i64,
        old_checksum: i64,
        topic: Option<&'a str>,
        revision: Option<i32>,
        encoding: Option<&'a str>,
        packed_tags: Option<&'a [u8]>,
        removed_tags: Vec<&'a str>,
        added_tags: Vec<&'a str>,
        without_metadata: bool,
        payload: Option<&'a [u8]>,
        payload_checksum: i64,
        checksum: i64,
    }
}

/// The parameters that `append_amending` has in addition.
#[derive(Debug, Default)]
pub(crate) struct AmendingParameters<'a> {
    pub(crate) amendments: Vec<AmendmentRow<'a>>,
    pub(crate) amended: Vec<AmendedEventRow<'a>>,
    pub(crate) seen_position: i64,
}

/// A parameter of a statement.
pub(crate) type Parameter<'a> = &'a (dyn ToSql + Sync);

/// Declares the parameters that the function has besides the log.
macro_rules! parameters {
    ($($parameter:ident: $value:ty,)*) => {
        /// The parameters of `append_group`.
        #[derive(Debug, Default)]
        pub(crate) struct GroupParameters<'a> {
            $(pub(crate) $parameter: $value,)*
        }

        /// The names of the parameters, in the order of [`GroupParameters::of_statement`].
        const NAMES: &[&str] = &[$(stringify!($parameter)),*];

        impl GroupParameters<'_> {
            /// Returns the parameters of [`APPEND_GROUP`]; `key` and `id` are those of the log.
            pub(crate) fn of_statement<'a>(
                &'a self,
                key: &'a i32,
                id: &'a Uuid,
            ) -> Vec<Parameter<'a>> {
                vec![key, id, $(&self.$parameter),*]
            }

            /// Returns the parameters of [`APPEND_AMENDING`].
            pub(crate) fn of_amending<'a>(
                &'a self,
                key: &'a i32,
                id: &'a Uuid,
                amending: &'a AmendingParameters<'a>,
            ) -> Vec<Parameter<'a>> {
                let of_group: [Parameter<'a>; NAMES.len()] = [$(&self.$parameter),*];
                let of_both = of_group.into_iter().skip(NAMES_OF_GROUPS);
                let amending: [Parameter<'a>; 3] = [
                    &amending.amendments,
                    &amending.amended,
                    &amending.seen_position,
                ];
                let log: [Parameter<'a>; 2] = [key, id];
                log.into_iter().chain(of_both).chain(amending).collect()
            }
        }
    };
}

parameters! {
    is_plain: bool,
    with_queries: bool,
    with_tags: bool,
    event_counts: Vec<i32>,
    condition_counts: Vec<i32>,
    range_counts: Vec<i32>,
    ids: Vec<Uuid>,
    streams: Vec<&'a str>,
    topics: Vec<&'a str>,
    events: Vec<NewEventRow<'a>>,
    conditions: Vec<ConditionRow<'a>>,
    ranges: Vec<ProcessedRangeRow<'a>>,
}

/// How many of the names, the first, only `append_group` has.
const NAMES_OF_GROUPS: usize = 2;

/// The names of the parameters that only `append_amending` has, in the order of
/// [`GroupParameters::of_amending`].
const NAMES_OF_AMENDMENTS: [&str; 3] = ["amendments", "amended", "seen_position"];

/// The statement that appends a group. Returns no row if the log does not exist.
pub(crate) static APPEND_GROUP: LazyLock<String> =
    LazyLock::new(|| statement("append_group", NAMES));

/// The statement that records an append with amendments, and makes them. Returns no row if the log
/// does not exist.
pub(crate) static APPEND_AMENDING: LazyLock<String> = LazyLock::new(|| {
    let names = [&NAMES[NAMES_OF_GROUPS..], &NAMES_OF_AMENDMENTS].concat();
    statement("append_amending", &names)
});

fn statement(function: &str, names: &[&str]) -> String {
    let named = names.iter().zip(3..);
    let named: String = named
        .map(|(name, number)| format!(", {name} => ${number}"))
        .collect();
    format!(
        "SELECT g.result::text, g.number, g.event_id, g.entry_index, g.appends \
         FROM \"retold\".log l, LATERAL \"retold\".{function}(of_log => l.key{named}) g \
         WHERE l.key = $1 AND l.id = $2"
    )
}
