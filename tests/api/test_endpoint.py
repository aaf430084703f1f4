"""The declared endpoints: their inputs, responses and encoding."""

from api.routes import ENDPOINTS


def test_rows_are_encoded_without_building_a_response_model() -> None:
    encoded = {f"{endpoint.method} {endpoint.path}" for endpoint in ENDPOINTS if endpoint.row_adapter}

    assert encoded == {
        "POST /auth/register",
        "GET /me",
        "PATCH /me",
        "GET /services",
        "POST /services",
        "GET /services/{id}",
        "PATCH /services/{id}",
        "GET /services/{id}/reviews",
        "POST /reviews",
        "GET /reviews/{id}",
        "PATCH /reviews/{id}",
        "GET /bookings",
        "POST /bookings",
        "GET /bookings/{id}",
        "PATCH /bookings/{id}",
    }
