"""What is known of published models: card.py reads the facts, known/ holds them, one YAML file a model."""
