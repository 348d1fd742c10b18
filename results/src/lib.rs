//! Reads runs, aggregates them with polars, compares
