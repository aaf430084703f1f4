"""What tests share: doors, clients, servers, scenarios. Holds no test."""
