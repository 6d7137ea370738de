"""The settings of the throw-away Superset; the templates must be on, as docs/dashboards.md says."""

import os

SECRET_KEY = "of-a-throw-away-superset-on-the-loopback"
SQLALCHEMY_DATABASE_URI = f"sqlite:///{os.environ['SIYU_TEST_SUPERSET_DB']}"
FEATURE_FLAGS = {"ENABLE_TEMPLATE_PROCESSING": True}
TALISMAN_ENABLED = False
