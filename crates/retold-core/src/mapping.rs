//! Mapping: between the domain's events and the recorder's bytes.
