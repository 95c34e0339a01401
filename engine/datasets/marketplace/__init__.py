"""The bundled marketplace: a generated catalogue with search log and judgments, its truth known."""

from engine.datasets.marketplace.write import content_hash, write_marketplace

__all__ = ["content_hash", "write_marketplace"]
