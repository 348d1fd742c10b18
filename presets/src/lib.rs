//! Shipped presets and the TOML reader that turns text into a valid Preset
