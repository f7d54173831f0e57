"""What is known of images and layers: in SQLite, and the same in memory, from which everything is answered.

    schema     tables
    records    values
    images     the two kept alike

Nothing here touches a layer's file.
"""
