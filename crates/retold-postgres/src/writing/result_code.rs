//! The results of appends, as the schema names them.

/// Declares the results with their names in the schema.
macro_rules! result_codes {
    ($($code:ident is $name:literal,)*) => {
        /// The result of an append; `schema/types.sql` describes each.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum ResultCode {
            $($code,)*
        }

        impl ResultCode {
            /// Returns the result of this name.
            pub(crate) fn from_code(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$code),)*
                    _ => None,
                }
            }
        }

        #[cfg(test)]
        const NAMES: &[&str] = &[$($name),*];
    };
}

result_codes! {
    AllRecorded is "all_recorded",
    Recorded is "recorded",
    Repeated is "repeated",
    OtherCheckpoint is "other_checkpoint",
    IdExists is "id_exists",
    OtherVersion is "other_version",
    QueryMatches is "query_matches",
    BeyondHead is "beyond_head",
    OtherTopicCount is "other_topic_count",
    StreamDeleted is "stream_deleted",
    AmendedMissing is "amended_missing",
    AmendedOtherStream is "amended_other_stream",
    AmendedErased is "amended_erased",
    AmendedRecord is "amended_record",
    AmendedBeyondStream is "amended_beyond_stream",
    AmendedMeanwhile is "amended_meanwhile",
}

#[cfg(test)]
mod tests {
    use super::NAMES;

    /// Goal: a result that only one of program and schema knows is noticed.
    #[test]
    fn the_schema_has_the_same_results() {
        let types = include_str!("../schema/types.sql");
        let (_, labels) = types.split_once("append_result AS ENUM (").unwrap();
        let (labels, _) = labels.split_once(");").unwrap();
        let labels = labels.lines().map(str::trim);
        let labels = labels.filter_map(|it| it.strip_prefix('\'')?.split('\'').next());
        assert_eq!(labels.collect::<Vec<_>>(), NAMES);
    }
}
