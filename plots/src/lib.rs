//! Charts and the report page
