//! The token endpoint, shared by refresh and login. Knows requests and answers, no provider, no
//! file and no lock.

pub mod endpoint;
