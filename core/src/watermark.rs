//! Watermark.
