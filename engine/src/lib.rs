//! Native Gemma 4 inference with speculative decoding
