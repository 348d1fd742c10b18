//! Stacks behind one trait: in-process engine and HTTP servers
