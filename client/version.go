package client

// version is that of this package, which servers show to their operators.
const version = "0.1.0"
