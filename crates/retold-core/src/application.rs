//! Applications: named logs with their aggregates.
