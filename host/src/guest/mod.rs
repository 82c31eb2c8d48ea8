pub(crate) mod description; pub(crate) mod json;
