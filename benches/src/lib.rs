//! One stratum each, and versus/<peer>
