//! The plain-data types that the eBPF programs and the agent share.
#![no_std]
