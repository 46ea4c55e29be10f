//! The simulated world: phones, networks, tenants' web servers, in virtual time
